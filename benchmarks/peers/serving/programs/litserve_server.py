"""The regressor behind LitServe: requests of any number of rows, up to 64 requests a batch."""

import os

import litserve
import numpy as np
import xgboost


class Regressor(litserve.LitAPI):
    def setup(self, device):
        self.booster = xgboost.Booster({"nthread": 1}, model_file=os.environ["MODEL"])

    def decode_request(self, request):
        return np.array(request["rows"], np.float32)

    def batch(self, inputs):
        self.ends = np.cumsum([len(rows) for rows in inputs])[:-1]
        return np.concatenate(inputs)

    def predict(self, rows):
        return self.booster.inplace_predict(rows)

    def unbatch(self, output):
        return np.split(output, self.ends)

    def encode_response(self, output):
        return {"predictions": output.tolist()}


if __name__ == "__main__":
    api = Regressor(max_batch_size=64, batch_timeout=0.001)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
