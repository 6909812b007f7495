"""The same answer to every request."""

ANSWER = (
    b'{"model_name":"regressor","model_version":"1","outputs":'
    b'[{"name":"prediction","shape":[1,1],"datatype":"FP32","data":[8.123456]}]}'
)
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())]


async def app(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": ANSWER})
