"""What is measured of a bot, pure: no Ray, no store, texts and numbers in, an entry of metrics.json out.

held_out   how well it foresees tweets that training never saw     voice     whether it sounds like its person
copying    whether it just repeats them                             variety   whether it says different things
safety     links, mentions, blocked words                           style     a map of people by how they write
"""
