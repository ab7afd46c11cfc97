import subprocess
import sys

import numpy as np

from asr.randomness import derive_seed, generator


def test_a_seed_is_the_same_in_another_process_whatever_its_hash_seed() -> None:
    code = "from asr.randomness import derive_seed, generator; print(derive_seed(7, 'id'), generator(7, 'id').random())"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert outputs == {f"{derive_seed(7, 'id')} {generator(7, 'id').random()}\n"}


def test_keys_of_another_order_type_or_grouping_give_other_seeds() -> None:
    groups = [(1, 2), (2, 1), (12,), ("1", 2), ("1", "2"), ("12",), (1, 2, ""), ("", 1, 2), ()]
    assert len({derive_seed(*keys) for keys in groups}) == len(groups)


def test_seeds_fit_into_what_torch_and_numpy_accept() -> None:
    seeds = [derive_seed(i) for i in range(1000)]
    assert min(seeds) >= 0
    assert max(seeds) < 2**63
    assert len(set(seeds)) == 1000


def test_a_generator_is_philox_with_the_seed_as_its_key() -> None:
    for keys in ((0, "b"), (2**40, "an utterance", 3)):
        expected = np.random.Generator(np.random.Philox(key=derive_seed(*keys)))
        found = generator(*keys)
        np.testing.assert_array_equal(found.integers(2**62, size=100), expected.integers(2**62, size=100))
        np.testing.assert_array_equal(found.standard_normal(9), expected.standard_normal(9))


def test_draws_do_not_depend_on_other_draws() -> None:
    alone = generator(0, "b").random(3)
    generator(0, "a").random(100)
    np.testing.assert_array_equal(generator(0, "b").random(3), alone)


def test_first_draws_of_consecutive_keys_are_uniform() -> None:
    draws = np.array([generator(0, epoch, "utterance").random() for epoch in range(4000)])
    counts = np.histogram(draws, bins=10, range=(0, 1))[0]
    chi_squared = ((counts - 400) ** 2 / 400).sum()
    assert chi_squared < 27.9  # 99.9 % quantile of 9 degrees of freedom
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.06
