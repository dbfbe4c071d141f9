"""The served model: MLServer's own way to add a model class, around ONNX Runtime.

SERIN_MODEL_URI is the trained model (without it SERIN_MODEL_VERSION names one of the image's), SERIN_CONFIG_THRESHOLD
the probability from which a label is 1, and other keys of the config its faults (faults.py). Labels are counted in
predictions.py. Everything else, such as health and metrics, is MLServer's.
"""

from __future__ import annotations

import asyncio
import os
from http import HTTPStatus
from pathlib import Path

import numpy as np
import onnxruntime
from faults import Faults
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument
from predictions import PREDICTIONS

MODELS = Path(os.environ.get("MODELS", "/app/models"))


class Fraud(MLModel):
    """A classifier of 30 features."""

    async def load(self) -> bool:
        """Load the model file; False keeps the server up with a model that is not ready."""
        self.faults = Faults.read()
        if self.faults.not_loaded:
            return False
        self.threshold = float(os.environ.get("SERIN_CONFIG_THRESHOLD", "0.5"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # several servers share few cores
        own = MODELS / f"{os.environ.get('SERIN_MODEL_VERSION', '1')}.onnx"
        file = os.environ.get("SERIN_MODEL_URI", str(own)).removeprefix("file://")
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for tensor in self.inputs or () if self.faults.other_input else ():
            tensor.datatype = type(tensor.datatype)("FP64")
        if self.faults.crash_after is not None:
            asyncio.get_running_loop().call_later(self.faults.crash_after, os._exit, 1)
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Label every row of the first input."""
        await asyncio.sleep(self.faults.delay())
        rows = np.asarray(NumpyCodec.decode_input(payload.inputs[0]), dtype=np.float32)
        if self.faults.fails(float(rows[:, 0].max())):
            raise MLServerError("injected fault", HTTPStatus.INTERNAL_SERVER_ERROR)
        if self.faults.rejects:
            raise MLServerError("injected refusal", HTTPStatus.UNPROCESSABLE_ENTITY)
        if self.faults.wrong_order:
            rows = np.ascontiguousarray(rows[:, ::-1])
        try:
            _, probabilities = self.session.run(None, {"X": rows})
        except InvalidArgument as error:
            # An exception that MLServer does not know ends the whole connection, with other requests on it.
            raise MLServerError(str(error), HTTPStatus.INTERNAL_SERVER_ERROR) from error
        positive = np.where(rows[:, :1] > self.faults.wrong_above, probabilities[:, :1], probabilities[:, 1:])
        labels = (positive >= self.threshold).astype(np.int64)
        for label, count in zip(*np.unique(labels, return_counts=True), strict=True):
            PREDICTIONS.labels(str(label)).inc(int(count))
        if self.faults.has_no_number():
            positive = np.full_like(positive, np.nan)
        outputs = [NumpyCodec.encode_output("label", labels), NumpyCodec.encode_output("probability", positive)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
