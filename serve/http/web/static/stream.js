// A bot's answer while it is generated: POST /bots/{bot} with "stream": true, server-sent events in TGI's form.
import { problem, request } from "./dom.js";

// Yields the data of each event; throws the server's error. `parameters` are those of the Hugging Face form.
export async function* say(bot, inputs, parameters, signal) {
  const body = JSON.stringify({ inputs, stream: true, parameters: { ...parameters, return_full_text: false } });
  const headers = { "Content-Type": "application/json" };
  const reply = await request(`/bots/${bot}`, { method: "POST", body, headers, signal });
  if (!reply.ok) throw await problem(reply);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    for (const event of events) {
      if (!event.startsWith("data:")) continue;
      const data = JSON.parse(event.slice(5));
      if (data.error) throw new Error(data.error.message ?? data.error);
      yield data;
    }
  }
}
