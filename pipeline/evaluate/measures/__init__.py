"""The measures of a bot as pure functions: from texts and numbers to an entry of metrics.json; no Ray, no store.

held_out      how well it predicts tweets that it was not trained on
voice         whether it sounds like its person
authorship    how close it is to its person in what does not depend on topics
real_or_bot   whether a detector can tell it from its person
sense         what it costs a language model, and whether its words are words
copying       whether it just repeats them
memory        what it gives away about the tweets that it learned from
variety       whether it says different things
safety        links, mentions, blocked words
style_map     a map of people by how they write
"""
