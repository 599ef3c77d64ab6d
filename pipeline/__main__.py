"""`python -m pipeline COMMAND …` is `huggingtweets COMMAND …`."""

from pipeline.cli import main

main()
