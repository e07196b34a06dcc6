"""Numbers to strings."""



from report import show
from utils.console import duration_in_words


def test_numbers_and_lists_are_formatted() -> None:
    assert [show.percent(value) for value in (0.75314, 1.0, 0.0, None)] == ["75.31", "100.00", "0.00", "–"]
    assert [show.points(value) for value in (0.0123, -0.0123, 0.00001, -0.00001)] == ["+1.23", "−1.23", "0.00", "0.00"]
    assert [duration_in_words(value) for value in (6.44, 59.96, 754.2, 3599.9, 7320)] == [
        "6.4 s", "1 min 00 s", "12 min 34 s", "1 h 00 min", "2 h 02 min"]
    assert [show.flops(value) for value in (12, 4.5e12, 3.21e15)] == ["12 FLOP", "4.50 TFLOP", "3.21 PFLOP"]
    assert [show.significant(value) for value in (0.05, -1.5, 12345.6)] == ["0.05000", "−1.500", "1.235e+04"]
    assert show.shorten("short", 5) == "short" and show.shorten("flower number 17", 12) == "flower n…17"
    assert show.listing(["a"]) == "a" and show.listing(["a", "b", "c"]) == "a, b and c"


def test_shortened_names_stay_distinct() -> None:
    plants = ["Tomato___Tomato_Yellow_Leaf_Curl_Virus", "Tomato___Tomato_mosaic_virus", "Tomato___Tomato_spider_virus"]
    for length in (8, 9, 12, 16):
        for names in (plants, [*plants, "Toma…s 1"], [f"{'x' * 40}{i}{'y' * 40}" for i in range(30)]):
            short = show.distinct(names, length)
            assert len(set(short)) == len(names) and max(map(len, short)) <= length
    assert show.distinct(["cat", "dog"], 8) == ["cat", "dog"]
    assert show.distinct(plants[:2], 16) == ["Tomato___T…Virus", "Tomato___T…virus"]
