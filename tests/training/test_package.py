import dataclasses

import numpy as np

from bottega.training.package import ModelPackage
from bottega.training.reference import Reference


def test_a_package_survives_the_disk(outcome, tmp_path):
    for package in (outcome.package, outcome.challengers[0].package):
        folder = tmp_path / package.info.model
        package.save(folder)
        loaded = ModelPackage.load(folder)
        assert loaded.info == package.info
        assert loaded.model == package.model
        assert loaded.functions == package.functions
        np.testing.assert_array_equal(loaded.inputs, package.inputs)
        assert loaded.tables.keys() == package.tables.keys()
        before, after = (Reference(p).parts.predict(p.inputs) for p in (package, loaded))
        np.testing.assert_array_equal(before, after)


def test_a_package_is_data_only(outcome, tmp_path):
    outcome.package.save(tmp_path / "p")
    names = {path.suffix for path in (tmp_path / "p").rglob("*") if path.is_file()}
    assert names == {".json", ".npz", ".ubj", ".onnx"}


def test_samples_are_requests_with_their_model_inputs(outcome, recipe):
    package = outcome.package
    assert set(package.samples) == {field.name for field in recipe.request}
    assert package.inputs.shape == (len(package.samples["at"]), len(package.info.plan.features))
    assert package.inputs.dtype == np.float32
    hour = package.info.plan.features.index("hour")
    found = Reference(package, lambda view, keys, at: dict.fromkeys(_online(recipe), np.full(len(at), np.nan)))
    assert found.columns(package.samples)["hour"].tolist() == package.inputs[:, hour].tolist()


def _online(recipe):
    return {reference.split(":")[1].split("@")[0] for reference in recipe.references.values()}


def test_texts_and_files_among_the_samples_survive_the_disk(outcome, tmp_path):
    texts = np.array([["a", ""], ["\u00e9\u00e8", "d"]], object)
    files = np.array([b"\x00\xff\x00", b""], object)
    package = dataclasses.replace(outcome.package, samples={"names": texts, "picture": files, "n": np.arange(2)})
    package.save(tmp_path / "p")
    loaded = ModelPackage.load(tmp_path / "p").samples
    assert loaded.keys() == package.samples.keys()
    for name, column in package.samples.items():
        assert loaded[name].tolist() == column.tolist()
