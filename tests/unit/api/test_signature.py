"""A signature is read from whatever a pod says; the bounds are the schemas'."""

from typing import Any

import pytest

from serin.api.signature import (
    LONGEST_DATATYPE,
    LONGEST_NAME,
    MOST_DIMENSIONS,
    MOST_TENSORS,
    NoSignature,
    Signature,
    Tensor,
    declared,
    read_signature,
    recorded,
    write_signature,
)
from tests import crds

# As MLServer answers GET /v2/models/NAME.
METADATA: dict[str, Any] = {
    "name": "fraud",
    "versions": [],
    "platform": "",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4], "parameters": {"content_type": "np"}}],
    "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
}
SIGNATURE = Signature((Tensor("x", "FP32", (-1, 4)),), (Tensor("y", "INT64", (-1,)),))


def test_a_models_metadata_is_read_and_survives_json() -> None:
    assert read_signature(METADATA) == SIGNATURE
    assert recorded(write_signature(SIGNATURE)) == SIGNATURE
    assert declared({"schemaVersion": "1", "signature": write_signature(SIGNATURE)}) == SIGNATURE
    assert declared(None) is None
    assert declared({"schemaVersion": "1"}) is None


def test_one_side_alone_is_a_signature() -> None:
    assert read_signature({"inputs": METADATA["inputs"], "outputs": None}).outputs == ()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "is no map"),
        ({"inputs": [], "outputs": []}, "has neither inputs nor outputs"),  # as KServe and MLServer without a schema
        ({"inputs": {"x": 1}}, "the inputs of the model's metadata are no list"),
        ({"inputs": ["x"]}, "no valid name, datatype or shape"),
        ({"inputs": [{"name": "x", "datatype": "FP32"}]}, "no valid name, datatype or shape"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [True]}]}, "no valid"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [-2]}]}, "no valid"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2**40]}]}, "no valid"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1] * 9}]}, "no valid"),
        ({"inputs": [{"name": "x\n", "datatype": "FP32", "shape": [1]}]}, "no valid"),
        ({"inputs": [{"name": "", "datatype": "FP32", "shape": [1]}]}, "no valid"),
        ({"inputs": [{"name": "x", "datatype": "F" * (LONGEST_DATATYPE + 1), "shape": [1]}]}, "no valid"),
        ({"inputs": [{"name": "x" * 200, "datatype": "FP32", "shape": [1]}]}, "no valid"),
        ({"outputs": METADATA["outputs"] * 2}, "two outputs of the model's metadata have the same name"),
        ({"inputs": METADATA["inputs"] * 101}, "has 101 inputs: more than 100 are not compared"),
    ],
)
def test_what_is_no_signature_is_said_in_words(body: Any, said: str) -> None:
    with pytest.raises(NoSignature, match=said):
        read_signature(body)
    assert recorded(body) is None


@pytest.mark.parametrize("where", ["deployment", "snapshot"])
def test_the_bounds_are_those_of_the_schemas(where: str) -> None:
    if where == "deployment":
        schema = crds.schema("ModelDeployment")["properties"]["spec"]["properties"]["features"]
    else:
        schema = crds.schema("ModelSnapshot")["properties"]["status"]
    for tensors in schema["properties"]["signature"]["properties"].values():
        row = tensors["items"]["properties"]
        assert (tensors["maxItems"], row["shape"]["maxItems"]) == (MOST_TENSORS, MOST_DIMENSIONS)
        assert row["name"]["maxLength"] == LONGEST_NAME
        assert row["datatype"].get("maxLength", LONGEST_DATATYPE) == LONGEST_DATATYPE
