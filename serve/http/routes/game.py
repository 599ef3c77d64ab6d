"""The game "Which one is real?": three texts of a bot and one tweet of its person, which the bot was not trained on.

    curl -X POST localhost:8000/bots/nasa/game                     # {"round": "x7Qk", "texts": [four of them]}
    curl localhost:8000/bots/nasa/game/x7Qk -d '{"pick": 2}'       # {"real": 0, "found": false, "fooled": {…}}

A fleet has it only with `serve.game`, since it shows real tweets.
"""

import random

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from serve.engine.parameters import Parameters
from serve.engine.question import Question
from serve.http import body
from serve.http.answers import AI_GENERATED, collected, logged
from serve.http.bots import ServedBots
from serve.http.errors import ApiError
from serve.http.forms.game import Pick, Round, arranged, playable
from serve.http.public_facts import Outcome

_WRITTEN = 12  # texts that the bot writes, of which a round shows three
router = APIRouter()


@router.post("/bots/{bot}/game", response_model=None)
async def begin(request: Request, bots: ServedBots, bot: str) -> Response:
    """Opens a round. The texts of the bot are written for it."""
    bot = await bots.known(bot)
    tweets = playable(await bots.held_out(bot))
    if not tweets:
        raise ApiError(404, "not_found", f"there is no game with {bot}: it takes serve.game and held-out tweets")
    question = Question("", Parameters(num_return_sequences=_WRITTEN))
    answer = await collected(logged(request, bots, bot, bots.answer(bot, question)))
    whole = playable([choice["text"] for choice in answer["choices"] if choice["finish_reason"] == "stop"])
    round_ = arranged(random.choice(tweets), [text for text in whole if text not in tweets])
    if round_ is None:
        raise ApiError(503, "bot_unavailable", f"{bot} wrote too few texts of some length; try again", 1)
    texts, real = round_
    return JSONResponse(Round(round=await bots.begin_round(bot, real), texts=texts), headers=AI_GENERATED)


@router.post("/bots/{bot}/game/{round_id}", response_model=None, openapi_extra=body.documented(Pick))
async def end(request: Request, bots: ServedBots, bot: str, round_id: str) -> Outcome:
    """Ends a round: where the real tweet was, and the bot's tally with this round in it."""
    bot = await bots.known(bot)
    form = await body.read(request, Pick)
    outcome = await bots.end_round(bot, round_id, form.pick)
    if outcome is None:
        raise ApiError(404, "not_found", "this round is over, or never began; open another one")
    return outcome
