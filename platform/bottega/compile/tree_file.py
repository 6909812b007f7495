"""Tree ensembles from bytes: XGBoost's own formats, or the arrays that `bottega.training.ensembles` writes."""

import io
import zipfile
import zlib

import numpy as np

from bottega.compile.trees import Ensemble, Tree, plant
from bottega.compile.xgboost_trees import read_xgboost
from bottega.errors import InvalidData


def read_trees(content: bytes) -> Ensemble:
    """The ensemble in `content`, whichever format it has.

    Raises InvalidData for bytes that are none, Unsupported for one beyond what this compiler does.
    """
    return read_arrays(content) if content[:2] == b"PK" else read_xgboost(content)


def read_arrays(content: bytes) -> Ensemble:
    """The ensemble in the bytes of an .npz file, as `bottega.training.ensembles` describes it.

    Sums are formed in float64, of leaves in float32.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as found:
            arrays = {name: found[name] for name in found.files}
        return _plant(arrays)
    except (KeyError, IndexError, TypeError, ValueError, EOFError, NotImplementedError) as error:
        raise InvalidData(f"The bytes are no tree ensemble: {type(error).__name__}: {error}.") from None
    except (zipfile.BadZipFile, zlib.error, OSError, MemoryError) as error:
        raise InvalidData(f"The bytes are no .npz file: {error}.") from None


def _plant(arrays: dict[str, np.ndarray]) -> Ensemble:
    sizes, categories = arrays["size"].astype(np.int64), arrays["categories"].astype(np.int64)
    nodes = len(arrays["left"])
    if sizes.min(initial=1) < 1 or sizes.sum() != nodes or categories.min(initial=0) < 0:
        raise ValueError(f"the trees' sizes do not add up to {nodes}")
    sets, ends = _sets(arrays, categories), np.cumsum(sizes)
    node = np.array(list(sets), np.int64)
    trees = []
    for output, start, end in zip(arrays["output"], ends - sizes, ends, strict=True):
        of_tree = {name: arrays[name][start:end] for name in ("left", "right", "feature", "threshold", "missing_left")}
        inside = node[np.searchsorted(node, start) : np.searchsorted(node, end)]
        trees.append(
            Tree(
                **of_tree,
                value=arrays["value"][start:end].astype(np.float32),
                output=int(output),
                sets={int(at - start): sets[int(at)] for at in inside},
            )
        )
    return plant(trees, arrays["base"].astype(np.float64), categories, str(arrays["link"]), fractions=False)  # type: ignore[arg-type]


def _sets(arrays: dict[str, np.ndarray], categories: np.ndarray) -> dict[int, np.ndarray]:
    """Categories that go right, by node, in order."""
    node, bits = arrays["set_node"].astype(np.int64), arrays["set"].astype(bool)
    ends = np.cumsum(categories[arrays["feature"][node]] + 2)
    if len(bits) != ends.max(initial=0) or (np.diff(node) <= 0).any() or node.min(initial=0) < 0:
        raise ValueError("the sets of categories do not fit their nodes")
    return dict(zip(node.tolist(), np.split(bits, ends[:-1]), strict=True)) if len(node) else {}
