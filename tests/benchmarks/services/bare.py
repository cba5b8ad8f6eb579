"""Our service's scoring and nothing else: no key, limits, metrics, log line; on the same server.

python bare.py PACKAGE PORT
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec
import uvicorn


def application(folder: Path) -> Any:
    """Build it for a package, whose own code scores."""
    sys.path.insert(0, str(folder))
    from scoring.scorer import Scorer

    scorer = Scorer(folder)
    encode = msgspec.json.Encoder().encode

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        body = message["body"]
        while message["more_body"]:
            message = await receive()
            body += message["body"]
        content = encode({"result": scorer.score(body)})
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    return answer


if __name__ == "__main__":
    uvicorn.run(
        application(Path(sys.argv[1])),
        host="127.0.0.1",
        port=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
    )
