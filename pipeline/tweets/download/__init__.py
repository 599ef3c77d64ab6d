"""Downloads people's posts from X, Bluesky and Mastodon, as the raw response pages that the readers understand.

    huggingtweets fetch ada.bsky.social @ada@ferry.example nasa --out posts       # posts/{handle}.jsonl, a page a line

accounts.py finds the network of an account; x.py, bluesky.py and mastodon.py each download one account; fetch.py
downloads several accounts in parallel. A second call downloads only newer posts, and an interrupted download continues
where it stopped, because pages.py reads the existing files first.
"""
