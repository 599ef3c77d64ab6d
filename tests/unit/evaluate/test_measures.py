"""What is measured of a bot: each measure on texts and numbers whose answer is known."""

import dataclasses
import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.word_runs import run_hashes, runs_file, words
from pipeline.evaluate.measures import style_map
from pipeline.evaluate.measures.copying import copying, longest_run
from pipeline.evaluate.measures.held_out import characters, held_out, interval, per_tweet
from pipeline.evaluate.measures.safety import read_block_list, safety
from pipeline.evaluate.measures.variety import distinct, variety
from pipeline.evaluate.measures.voice import GROUP, VoiceClassifier, groups, voice
from pipeline.train.loss import token_losses
from tests.support.toys import WORDS, tweets_of


class TestHeldOut:
    def test_losses_are_nats_by_tokens_and_by_characters(self):
        bot, base = np.array([6.0, 2.0]), np.array([9.0, 7.0])
        measured = held_out(bot, base, lengths=[3, 1], characters=np.array([12, 4]))
        assert (measured["loss"], measured["base_loss"]) == (2.0, 4.0)
        assert measured["perplexity"] == pytest.approx(np.exp(2))
        assert (measured["tokens"], measured["tweets"]) == (4, 2)
        assert measured["per_character"]["loss"] == 0.5 and measured["per_character"]["characters"] == 16
        low, high = measured["loss_interval"]
        assert low == pytest.approx(2.0) and high == pytest.approx(2.0)  # both tweets cost 2 nats a token

    def test_the_interval_covers_the_true_loss_about_as_often_as_it_says(self):
        rng = np.random.default_rng(1)
        covered = 0
        for _ in range(200):
            units = rng.integers(5, 30, size=100)
            low, high = interval(units * rng.normal(3.0, 0.5, size=100), units)
            covered += low <= 3.0 <= high
        assert 180 <= covered <= 199  # 95 % of 200, give or take

    def test_the_interval_of_the_same_tweets_is_the_same(self):
        nats, units = np.arange(1.0, 21.0), np.full(20, 5)
        assert interval(nats, units) == interval(nats, units)

    def test_a_single_tweet_has_an_interval_without_width(self):
        assert interval(np.array([6.0]), np.array([3])) == (2.0, 2.0)

    def test_sums_follow_the_tweets(self):
        assert per_tweet(np.array([1.0, 2.0, 3.0, 4.0]), [1, 3]).tolist() == [1.0, 9.0]

    def test_a_tweet_counts_its_end_as_one_character(self):
        assert characters(["abc", ""]).tolist() == [4, 1]

    def test_each_token_is_predicted_once_whatever_the_block(self, base):
        import torch

        from pipeline.core.model_folder import load_model

        network = load_model(base).eval()
        stream = np.random.default_rng(0).integers(0, 500, size=90)
        whole = token_losses(network, stream, 128, torch.device("cpu"))
        cut = token_losses(network, stream, 16, torch.device("cpu"))
        assert whole.shape == cut.shape == (89,)
        assert cut[:15] == pytest.approx(whole[:15], abs=1e-4)  # later tokens see less of what was before


class TestCopying:
    TRAINING = ("The quick brown fox jumps over the lazy dog again and again.", "Good morning, everybody!")

    def test_an_exact_copy_is_one_without_case_and_punctuation(self):
        measured = copying(["good morning everybody", "Good evening everybody"], self.TRAINING, real=[])
        assert (measured["exact"], measured["long_runs"], measured["longest_run"]) == (0.5, 0.0, 3)
        assert measured["longest_text"] == "good morning everybody"

    def test_a_run_of_eight_words_is_long_and_one_of_seven_is_not(self):
        eight, seven = "So: the quick brown fox jumps over the lazy cat", "So: the quick brown fox jumps over the cat"
        assert copying([eight, seven], self.TRAINING, real=[])["long_runs"] == 0.5
        assert copying([eight], self.TRAINING, real=[])["longest_run"] == 8

    def test_a_run_does_not_reach_from_one_tweet_into_the_next(self):
        assert copying(["again and again good morning"], self.TRAINING, real=[])["longest_run"] == 3

    def test_people_repeat_themselves_too(self):
        measured = copying(["x"], self.TRAINING, real=["Good morning everybody"])
        assert (measured["exact"], measured["real_exact"]) == (0.0, 1.0)

    def test_as_many_real_tweets_are_compared_as_there_are_samples(self):
        real = ["Good morning everybody", "Something else", "Something else again"]
        assert copying(["x", "y"], self.TRAINING, real)["real_exact"] == 0.5

    def test_no_samples_means_no_copies(self):
        assert copying([], [], [])["exact"] == copying([""], ["a b"], [])["long_runs"] == 0.0

    @given(st.lists(st.sampled_from("abc"), max_size=12), st.lists(st.sampled_from("abc"), max_size=12))
    def test_the_longest_run_is_what_trying_all_of_them_finds(self, said, tweet):
        runs = {tuple(tweet[i:j]) for i in range(len(tweet)) for j in range(i + 1, len(tweet) + 1)}
        mine = [tuple(said[i:j]) for i in range(len(said)) for j in range(i + 1, len(said) + 1)]
        best = max((len(run) for run in mine if run in runs), default=0)
        assert len(longest_run(said, f" {' '.join(tweet)} ")) == best

    def test_the_file_holds_each_run_once_and_in_order(self):
        runs = np.load(io.BytesIO(runs_file([*self.TRAINING, self.TRAINING[0]])), allow_pickle=False)
        assert runs.dtype == np.uint64 and (np.diff(runs.astype(object)) > 0).all()
        assert len(runs) == (12 - 8 + 1) + 1
        digest = hashlib.blake2b(b"good morning everybody", digest_size=8).digest()
        assert int.from_bytes(digest, "little") in runs.tolist()
        copied = run_hashes("He said: the quick brown fox jumps over the LAZY dog")
        assert np.isin(copied, runs).sum() == 2 and not np.isin(run_hashes("Good evening"), runs).any()
        assert len(run_hashes("")) == len(run_hashes("…!")) == 0

    def test_words_have_no_case_and_no_punctuation(self):
        assert words("Don’t PANIC, it's 20°!") == ["don’t", "panic", "it's", "20"]


class TestVariety:
    def test_distinct_n_grams(self):
        assert distinct(["a a b", "a b"], 1) == 2 / 5
        assert distinct(["a a b", "a b"], 2) == 2 / 3
        assert distinct([], 2) == 0.0

    def test_the_same_thing_twice_is_a_duplicate(self):
        measured = variety(["Bong!", "bong", "tick tock", "Bong"], real=["Bong bong", "bong"])
        assert measured["duplicates"] == 0.5
        assert measured["length"]["p50"] == 4.5 and measured["real_length"]["p50"] == 6.5

    def test_as_many_real_tweets_are_compared_as_there_are_samples(self):
        measured = variety(["one two"], real=["three four", "three four", "three four"])
        assert (measured["real_distinct_1"], measured["real_distinct_2"]) == (1.0, 1.0)

    def test_the_distance_of_lengths_is_0_for_equal_and_1_for_disjoint_ones(self):
        assert variety(["aaa", "bbb"], ["ccc", "ddd"])["length_distance"] == 0.0
        assert variety(["aaa"], ["c" * 100])["length_distance"] == 1.0


class TestSafety:
    def test_links_and_mentions_are_shares_of_the_samples(self):
        said = ["see https://x.y", "www.example.org", "ask @nasa", "mail me@home.example, at 10 @ the bar"]
        measured = safety(said, None)
        assert (measured["links"], measured["mentions"], measured["blocked"]) == (0.5, 0.25, None)

    @pytest.mark.parametrize("text", ["http://x.y", "HTTPS://x.y", "www.example.org", "look t.co/abc"])
    def test_a_link_may_have_no_scheme(self, text):
        assert safety([text, "a report.com/unity"], None)["links"] == 0.5

    def test_a_block_list_has_words_and_phrases(self):
        listed = read_block_list("# a comment\nDarn\n\nholy cow\n")
        assert listed == {"darn", "holy cow"}
        assert safety(["DARN it", "darning socks", "Holy, cow!", "a cow"], listed)["blocked"] == 0.5


class TestVoice:
    @pytest.fixture(scope="class")
    def group(self) -> VoiceClassifier:
        return VoiceClassifier.fit({handle: tweets_of(handle)[:100] for handle in WORDS})

    def test_people_with_words_of_their_own_are_told_apart(self, group):
        assert group.attribute(["Brass lever and steam.", "Onion soup with bread.", "The barge on the river."]) == [
            "ada",
            "ben",
            "cleo",
        ]
        assert group.attribute([]) == []

    def test_a_stored_classifier_weighs_n_grams_as_the_trained_one_does(self, group):
        texts = ["Brass lever and steam.", "Onion soup with bread."]
        assert len(set(dataclasses.replace(group, idf=np.zeros_like(group.idf)).attribute(texts))) == 1
        assert len(set(group.attribute(texts))) == 2

    def test_two_people_are_enough(self):
        group = VoiceClassifier.fit({handle: tweets_of(handle)[:50] for handle in ("ada", "ben")})
        assert group.attribute(["Brass lever and steam.", "Onion soup with bread."]) == ["ada", "ben"]

    def test_shares_and_ratios(self, group):
        ada, ben = tweets_of("ada"), tweets_of("ben")
        measured = voice(
            group, ["ada"], samples=[*ada[100:103], ben[100]], base_samples=ben[101:103], real=ada[103:110]
        )
        assert (measured["top1"], measured["base_top1"], measured["real_top1"]) == (0.75, 0.0, 1.0)
        assert (measured["chance"], measured["ratio_to_real"], measured["ratio_to_chance"]) == (1 / 3, 0.75, 2.25)
        assert measured["attributed"] == [["ada", 3], ["ben", 1]] and measured["people"] == 3

    def test_a_blend_may_sound_like_any_of_its_people(self, group):
        measured = voice(group, ["ada", "ben"], [tweets_of("ada")[100], tweets_of("ben")[100]], ["River sand."], [])
        assert (measured["top1"], measured["base_top1"], measured["chance"]) == (1.0, 0.0, 2 / 3)
        assert measured["ratio_to_real"] is None

    def test_large_fleets_are_split_alike_whatever_the_order(self):
        handles = [f"user{i}" for i in range(3 * GROUP - 5)]
        split = groups(handles)
        assert split == groups(handles[::-1])
        assert [len(group) for group in split] == [99, 98, 98]
        assert sorted(handle for group in split for handle in group) == sorted(handles)


class TestStyle:
    def test_people_with_a_similar_style_are_close_on_the_map(self):
        people = {f"{handle}{i}": tweets_of(handle)[i * 40 : i * 40 + 40] for handle in WORDS for i in range(2)}
        points = style_map.layout(list(people), np.stack([style_map.profile(texts) for texts in people.values()]))
        assert all(-1 <= value <= 1 for point in points.values() for value in point)
        near = {
            name: min((other for other in points if other != name), key=lambda other: np.linalg.norm(
                np.subtract(points[name], points[other])))
            for name in points
        }  # fmt: skip
        assert all(near[f"{handle}0"] == f"{handle}1" for handle in WORDS)

    @pytest.mark.parametrize("count", [1, 2, 3, 40])
    def test_any_number_of_people_has_a_map(self, count):
        rng = np.random.default_rng(0)
        handles = [f"user{i}" for i in range(count)]
        points = style_map.layout(handles, rng.poisson(0.5, size=(count, 300)).astype(np.float32))
        assert list(points) == handles and np.isfinite(list(points.values())).all()
