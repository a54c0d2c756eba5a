"""A FastAPI application that prints who asks for what."""

import os

from fastapi import FastAPI, Request

app = FastAPI()


@app.api_route("/", methods=["GET", "POST"])
async def serve(request: Request) -> str:
    size = len(await request.body())
    host = request.client.host if request.client else None
    print(f"{os.getpid()} {host} {request.method} /?{request.url.query} {size}", flush=True)
    return "local"
