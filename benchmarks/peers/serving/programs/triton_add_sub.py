"""Add/sub for Triton's Python backend."""

import triton_python_backend_utils as backend


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            a, b = (backend.get_input_tensor_by_name(request, name).as_numpy() for name in ("INPUT0", "INPUT1"))
            outputs = [backend.Tensor("OUTPUT0", a + b), backend.Tensor("OUTPUT1", a - b)]
            answers.append(backend.InferenceResponse(outputs))
        return answers
