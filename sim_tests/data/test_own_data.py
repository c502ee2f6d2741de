"""Data of the user's own: every kind is read as it was written, and what is wrong with it is said in one line."""

import io
import tarfile
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bitting.data import datasets
from bitting.data.dataset import of_arrays
from bitting.data.fitting import fitted
from bitting.errors import DatasetError
from bitting.program.interface import Task
from bitting.unit.spec import PRESETS

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(20, 3)).astype(np.float32), RNG.normal(size=(7, 3)).astype(np.float32)
Y, Y_TEST = np.arange(20) % 3, np.arange(7) % 3


def written(path, **arrays):
    given: dict[str, Any] = {"x_train": X, "y_train": Y, "x_test": X_TEST, "y_test": Y_TEST} | arrays
    np.savez(path, **given)
    return str(path)


def table(path, header, rows):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def test_arrays_come_as_they_were_written(tmp_path):
    data = datasets.load(written(tmp_path / "own.npz"))
    assert data.name == "own.npz" and data.task == Task.CLASSES and data.outputs == 3 and data.shape == (3,)
    assert np.array_equal(data.train_x, X) and np.array_equal(data.test_y, Y_TEST)
    assert not data.pictures


@pytest.mark.parametrize(
    ("shape", "found"), [((5, 6), (1, 5, 6)), ((3, 5, 6), (3, 5, 6)), ((5, 6, 3), (3, 5, 6)), ((5, 6, 1), (1, 5, 6))]
)
def test_pictures_have_their_channels_first(shape, found):
    pixels = RNG.integers(0, 256, (9, *shape)).astype(np.uint8)
    data = of_arrays("pictures", (pixels, np.arange(9) % 2), (pixels, np.arange(9) % 2))
    assert data.shape == found and data.pictures
    wanted = np.moveaxis(pixels, 3, 1) if shape[-1] in (1, 3) else pixels
    assert np.array_equal(data.train_x, wanted.reshape(9, -1))


def test_only_pixels_may_have_their_channels_last():
    numbers = np.random.default_rng(0).normal(size=(6, 8, 10, 1))
    data = of_arrays("own", (numbers, [0, 1] * 3), (numbers, [0, 1] * 3))
    assert data.shape == (8, 10, 1), "eight channels of ten rows stay what they are"


def test_a_series_keeps_its_channels_and_length():
    data = of_arrays("series", (RNG.normal(size=(9, 2, 16)), Y[:9]), (RNG.normal(size=(3, 2, 16)), Y[:3]))
    assert data.shape == (2, 16) and data.words == 32


@pytest.mark.parametrize(
    ("targets", "task", "outputs"),
    [
        (np.arange(20) % 4, Task.CLASSES, 4),
        (np.array(["no", "yes"])[np.arange(20) % 2], Task.CLASSES, 2),
        (np.linspace(0, 1, 20), Task.REGRESSION, 1),
        (np.linspace([0, 5], [1, 9], 20), Task.REGRESSION, 2),
        (np.eye(4, dtype=int)[np.arange(20) % 4], Task.LABELS, 4),
    ],
)
def test_the_task_is_what_the_targets_look_like(targets, task, outputs):
    data = of_arrays("own", (X, targets), (X, targets))
    assert data.task == task and data.outputs == outputs


def test_a_task_can_be_chosen():
    assert of_arrays("own", (X, Y % 2), (X_TEST, Y_TEST % 2), Task.BINARY).outputs == 1
    assert of_arrays("own", (X, Y), (X_TEST, Y_TEST), Task.REGRESSION).train_y.dtype == np.float32


def test_names_of_classes_are_sorted_and_kept(tmp_path):
    rows = [f"{i}.5,{i * i},{'pear' if i % 2 else 'apple'}" for i in range(12)]
    data = datasets.load(table(tmp_path / "fruit.csv", "weight,size,kind", rows))
    assert data.names == ("apple", "pear") and data.task == Task.CLASSES and data.shape == (2,)
    x, y = np.concatenate([data.train_x, data.test_x]), np.concatenate([data.train_y, data.test_y])
    assert len(data.test_x) == 2 and np.array_equal(np.sort(x[:, 0]), np.arange(12) + 0.5)
    assert all((value[0] - 0.5) % 2 == label for value, label in zip(x, y, strict=True))


def test_a_table_s_target_may_be_any_column(tmp_path):
    path = table(tmp_path / "t.csv", "price,rooms,area", [f"{i * 1.5},{i % 4},{i * 9}" for i in range(20)])
    data = datasets.load(f"{path}:price")
    assert data.task == Task.REGRESSION and data.names == ("price",)
    assert np.array_equal(data.train_y[:, 0], data.train_x[:, 1] / 6)
    assert datasets.load(f"{path}:rooms").outputs == 4


def picture(colour, size=(6, 5)):
    buffer = io.BytesIO()
    Image.new("RGB" if isinstance(colour, tuple) else "L", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def tree(colours=(10, 200)):
    return {
        f"{part}/{kind}/{number}.png": picture(colour)
        for part, count in (("train", 3), ("test", 2))
        for kind, colour in zip(("cat", "dog"), colours, strict=True)
        for number in range(count)
    }


def in_folder(path, files):
    for name, contents in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(contents)
    return str(path)


def in_zip(path, files):
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in files.items():
            archive.writestr(f"pets/{name}", contents)
    return str(path)


def in_tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, contents in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    return str(path)


@pytest.mark.parametrize(("pack", "name"), [(in_folder, "pets"), (in_zip, "pets.zip"), (in_tar, "pets.tar.gz")])
@pytest.mark.parametrize("colours", [(10, 200), ((1, 2, 3), (4, 5, 6))], ids=["grey", "colour"])
def test_pictures_of_folders_and_archives(tmp_path, pack, name, colours):
    data = datasets.load(pack(tmp_path / name, tree(colours)))
    channels = 3 if isinstance(colours[0], tuple) else 1
    assert data.names == ("cat", "dog") and data.shape == (channels, 5, 6)
    assert len(data.train_x) == 6 and len(data.test_x) == 4
    for x, y in zip(data.train_x, data.train_y, strict=True):
        assert np.array_equal(x, np.repeat(np.atleast_1d(colours[y]), 30))


@pytest.mark.parametrize(("pack", "name"), [(in_folder, "pets"), (in_zip, "pets.zip"), (in_tar, "pets.tar.gz")])
def test_the_first_pictures_are_of_all_classes(tmp_path, pack, name):
    """They lie class by class; calibration, attacks and quick verifications take the first so many."""
    many = {
        f"{part}/{kind}/{number}.png": picture(number) for part in ("train", "test") for kind in "abc" for number in range(40)
    }
    data, again = (datasets.load(pack(tmp_path / f"{turn}-{name}", many)) for turn in range(2))
    for x, y, other in ((data.train_x, data.train_y, again.train_x), (data.test_x, data.test_y, again.test_x)):
        assert set(y[:20]) == {0, 1, 2} and np.array_equal(np.bincount(y), [40, 40, 40])
        assert sorted(map(int, x[y == 1][:, 0])) == list(range(40)) and np.array_equal(x, other)


def test_copies_of_cifar_10_are_mixed(tmp_path, monkeypatch):
    monkeypatch.setenv("BITTING_DATA", str(tmp_path))
    (tmp_path / "cifar-10").mkdir()
    for part in ("train", "test"):
        with tarfile.open(tmp_path / "cifar-10" / f"{part}.tar.xz", "w:xz") as archive:
            for label, kind in enumerate(("airplane", "automobile", "truck")):
                for number in range(30):
                    contents = picture((10 * label, number, 0), (32, 32))
                    member = tarfile.TarInfo(f"{kind}/{number:04}.png")
                    member.size = len(contents)
                    archive.addfile(member, io.BytesIO(contents))
    data = datasets.load("cifar-10")
    for x, y in ((data.train_x, data.train_y), (data.test_x, data.test_y)):
        assert set(y[:20]) == {0, 1, 9} and len(y) == 90
        assert all(red == 10 * min(label, 2) for red, label in zip(x[:, 0], y, strict=True))


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a Python module into the working folder."""
    monkeypatch.chdir(tmp_path)
    return lambda name, text: (tmp_path / f"{name}.py").write_text(f"import numpy as np\n{text}")


def test_a_python_function_gives_data(module):
    module(
        "my_data_module",
        "def pairs():\n    x = np.arange(12.0).reshape(6, 2)\n    return x, np.arange(6) % 2, x, np.arange(6) % 2\n"
        "def broken():\n    raise RuntimeError('no disk')\n"
        "def nothing():\n    return 5\n",
    )
    assert datasets.load("my_data_module:pairs").outputs == 2
    for name, message in (("broken", "raised RuntimeError: no disk"), ("nothing", "gave int"), ("absent", "absent")):
        with pytest.raises(DatasetError, match=message):
            datasets.load(f"my_data_module:{name}")
    with pytest.raises(DatasetError, match="no_such_module"):
        datasets.load("no_such_module:load")


def test_what_a_function_prints_does_not_mix_with_results(module, capsys):
    module(
        "talks",
        "print('imported')\ndef pairs():\n    print('working')\n    x = np.arange(12.0).reshape(6, 2)\n"
        "    return x, np.arange(6) % 2, x, np.arange(6) % 2\n",
    )
    assert datasets.load("talks:pairs").outputs == 2
    said = capsys.readouterr()
    assert not said.out and said.err.split() == ["imported", "working"]


NOT_FINITE = X.copy()
NOT_FINITE[4, 1] = np.nan


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": NOT_FINITE}, r"x_train holds nan at \[4, 1\]"),
        ({"x_test": X_TEST[:, :2]}, r"inputs have shape \(3,\) for training and \(2,\) for test"),
        ({"y_train": Y[:5]}, "20 inputs and 5 targets of train"),
        ({"x_train": X[:, :, None, None, None]}, "has shape .20, 3, 1, 1, 1.; allowed are"),
        ({"x_train": X.astype(str)}, "is of type <U32; allowed are numbers"),
        ({"y_train": np.zeros(20, int), "y_test": np.zeros(7, int)}, "all of one class"),
        ({"y_test": Y_TEST + 5}, r"label 5 is out of range; allowed are 0..2"),
        ({"y_train": Y - 1}, "label -1 is out of range"),
        ({"y_train": np.array(["a", "b"])[Y % 2], "y_test": np.array(["a", "c"])[Y_TEST % 2]}, "the test has a class 'c'"),
        ({"y_train": np.ones(20), "y_test": np.ones(7)}, "always the same"),
        ({"y_train": np.full(20, np.inf), "y_test": np.ones(7)}, "y_train holds inf"),
        ({"y_train": np.zeros((20, 2, 2)), "y_test": np.zeros((7, 2, 2))}, "a regression has targets"),
        ({"y_train": np.arange(40).reshape(20, 2)}, "neither 0 and 1"),
    ],
)
def test_arrays_that_are_no_data_set_are_named(tmp_path, arrays, message):
    with pytest.raises(DatasetError, match=message) as caught:
        datasets.load(written(tmp_path / "own.npz", **arrays))
    assert "\n" not in str(caught.value)


def test_a_table_of_bytes_is_a_table():
    counts = RNG.integers(0, 9, (20, 3)).astype(np.uint8)
    data = of_arrays("counts", (counts, Y), (counts, Y))
    assert not data.pictures and np.array_equal(data.train_x, counts)


def test_integers_that_hardly_repeat_may_be_numbers():
    x, y = RNG.normal(size=(90, 2)), np.arange(90)
    with pytest.raises(
        DatasetError, match="90 different targets in 90 samples; if they are numbers to be learnt, give --task reg"
    ):
        of_arrays("own", (x, y), (x, y))
    assert of_arrays("own", (x, y), (x, y), Task.REGRESSION).outputs == 1
    assert of_arrays("own", (x, y), (x, y), Task.CLASSES).outputs == 90
    with pytest.raises(DatasetError, match="labels up to 1000000 for 2 classes; number the classes from 0 on, or name them"):
        of_arrays("own", (x, y % 2 * 1_000_000), (x, y % 2), Task.CLASSES)


def test_names_may_be_objects_as_pandas_has_them():
    names = np.array(["a", "b"], object)[Y % 2]
    assert of_arrays("own", (X, names), (X, names)).names == ("a", "b")
    with pytest.raises(DatasetError, match="targets: no array of numbers"):
        of_arrays("own", (X, [[1], [2, 3]] * 10), (X, Y))


def test_a_given_data_set_is_checked_and_its_task_can_be_chosen(module):
    module(
        "given_sets",
        "from bitting.data.dataset import Dataset\n"
        "x, y = np.zeros((6, 2), np.float32), np.arange(6) % 2\n"
        "def right():\n    return Dataset('mine', x, y, x, y, (2,))\n"
        "def wrong():\n    return Dataset('mine', x, y[:3], x, y, (2,))\n"
        "def leaves():\n    raise SystemExit(0)\n",
    )
    assert datasets.load("given_sets:right").name == "mine"
    assert datasets.load("given_sets:right", "regression").task == Task.REGRESSION
    with pytest.raises(DatasetError, match="6 inputs and 3 targets"):
        datasets.load("given_sets:wrong")
    with pytest.raises(DatasetError, match="it raised SystemExit"):
        datasets.load("given_sets:leaves")


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_float32_are_named_without_a_warning(tmp_path):
    huge = X.astype(np.float64)
    huge[3, 2] = 1e300
    with pytest.raises(DatasetError, match=r"x_train holds inf at \[3, 2\]"):
        datasets.load(written(tmp_path / "own.npz", x_train=huge))
    narrow = of_arrays("own", (X * 1e-42, Y), (X, Y[:20]))
    with pytest.raises(DatasetError, match=r"feature or channel 0 goes from .* too narrow for float32"):
        fitted(PRESETS["base"], narrow)


def damaged(path):
    contents = bytearray(path.read_bytes())
    for at in range(len(contents) // 3, len(contents) // 2):
        contents[at] ^= 0x5A
    path.write_bytes(contents)
    return str(path)


def test_damaged_archives_are_named(tmp_path):
    np.savez_compressed(tmp_path / "own.npz", x_train=X, y_train=Y, x_test=X_TEST, y_test=Y_TEST)
    in_tar(tmp_path / "pets.tar.gz", tree())
    for name in ("own.npz", "pets.tar.gz"):
        with pytest.raises(DatasetError, match="can not be read"):
            datasets.load(damaged(tmp_path / name))
    np.save(tmp_path / "one.npy", X)
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    with pytest.raises(DatasetError, match="holds one array"):
        datasets.load(str(tmp_path / "one.npz"))


def test_sixteen_bits_of_grey_are_taken_with_eight(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(np.full((5, 6), 200 * 257, np.uint16)).save(buffer, "PNG")
    data = datasets.load(in_folder(tmp_path / "pets", tree() | {"train/dog/0.png": buffer.getvalue()}))
    assert set(data.train_x[data.train_y == 1].reshape(-1).tolist()) == {200}


def test_transparent_pictures_are_refused(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGBA", (6, 5), (1, 2, 3, 100)).save(buffer, "PNG")
    with pytest.raises(DatasetError, match=r"dog/0\.png is transparent in parts"):
        datasets.load(in_folder(tmp_path / "pets", tree() | {"train/dog/0.png": buffer.getvalue()}))


def test_what_a_system_puts_beside_pictures_is_left_out(tmp_path):
    assert len(datasets.load(in_zip(tmp_path / "pets.zip", tree() | {"__MACOSX/train/cat/._0.png": b"x"})).train_x) == 6


def test_names_that_a_terminal_would_obey_are_refused():
    names = np.array(["calm", "\x1b]0;title\x07"])[Y % 2]
    with pytest.raises(DatasetError, match="can not be printed"):
        of_arrays("own", (X, names), (X, names))


def test_a_claim_names_no_file_and_no_function(tmp_path):
    for claim in ("os:getcwd", written(tmp_path / "own.npz"), "", None):
        assert datasets.claimed({"dataset": claim}) == "" == datasets.claimed({})
    assert datasets.claimed({"dataset": "digits"}) == "digits"


def test_missing_arrays_are_named(tmp_path):
    np.savez(tmp_path / "own.npz", x_train=X, y_train=Y)
    with pytest.raises(DatasetError, match="lacks x_test, y_test; found x_train, y_train"):
        datasets.load(str(tmp_path / "own.npz"))
    (tmp_path / "own.npz").write_bytes(b"PK no archive")
    with pytest.raises(DatasetError, match="can not be read"):
        datasets.load(str(tmp_path / "own.npz"))


def test_objects_in_an_archive_are_not_unpickled(tmp_path):
    with pytest.raises(DatasetError, match="without objects"):
        datasets.load(written(tmp_path / "own.npz", x_train=np.array([{}], object)))


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        ("a,b", ["1,2"] * 4, "has 5 rows"),
        ("1,2", ["1,2"] * 9, "the first row holds numbers"),
        ("a,b", [*["1,2"] * 8, "1"], "line 10: 1 cells, the first row has 2"),
        ("a,b", [*["1,2"] * 8, "x,2"], "line 10, column a: 'x' is no number"),
        ("a,b", ["1,2", "1,", *["1,3"] * 8], "line 3, column b: nothing there"),
        ("a,b", ["1,2", "1,NA", *["1,3"] * 8], "line 3, column b: NA"),
        ("5.1,3.5,setosa", ["4.9,3.0,setosa"] * 9, "the first row holds numbers"),
        ("a,b", [*["1,3"] * 6, "nan,2", *["1,3"] * 8], "line 8, column a: nan; allowed are finite numbers"),
        ("a,b", [*["1,3"] * 6, "", "1e39,2", *["1,3"] * 8], "line 9, column a: 1e39"),
        ("a,b", [*["1,3.5"] * 6, "2,-inf", *["1,3"] * 8], "line 8, column b: -inf"),
    ],
)
def test_tables_that_are_none_are_named(tmp_path, header, rows, message):
    with pytest.raises(DatasetError, match=message):
        datasets.load(table(tmp_path / "t.csv", header, rows))


def test_a_column_that_is_not_there_is_named(tmp_path):
    path = table(tmp_path / "t.csv", "a,b", ["1,2"] * 9)
    with pytest.raises(DatasetError, match="no column 'c'; allowed: a, b"):
        datasets.load(f"{path}:c")


def test_pictures_that_do_not_fit_are_named(tmp_path):
    files = tree() | {"train/cat/big.png": picture(9, (8, 8))}
    with pytest.raises(DatasetError, match=r"train/cat/big.png has 8 x 8 pixels, train/cat/0.png 6 x 5"):
        datasets.load(in_folder(tmp_path / "sizes", files))
    with pytest.raises(DatasetError, match=r"train/cat/0\.png is no picture"):
        datasets.load(in_folder(tmp_path / "broken", tree() | {"train/cat/0.png": b"text"}))
    with pytest.raises(DatasetError, match=r"stray\.png lies in none of"):
        datasets.load(in_folder(tmp_path / "stray", tree() | {"stray.png": picture(1)}))
    only = {name: contents for name, contents in tree().items() if name.startswith("train")}
    with pytest.raises(DatasetError, match="no pictures in test/CLASS"):
        datasets.load(in_folder(tmp_path / "half", only))


def test_what_is_nowhere_is_named():
    for name in ("nowhere.npz", "nowhere.csv:a", "./nowhere"):
        with pytest.raises(DatasetError, match=r"nowhere.* does not exist; allowed: FILE\.npz"):
            datasets.load(name)
    with pytest.raises(DatasetError, match="unknown data set 'cifar'; allowed: digits, mnist, fashion-mnist, cifar-10"):
        datasets.load("cifar")
    with pytest.raises(DatasetError, match="unknown task 'ranking'; allowed: classification, binary, multi-label, regression"):
        datasets.load("own.npz", "ranking")


@pytest.mark.slow
def test_cifar_10_has_its_classes():
    data = datasets.load("cifar-10")
    assert data.train_x.shape == (50_000, 3072) and data.test_x.shape == (10_000, 3072) and data.shape == (3, 32, 32)
    assert np.array_equal(np.bincount(data.test_y), [1000] * 10) and data.names[3] == "cat"
