"""``python -m api``: serves the HTTP interface where the settings say."""

import uvicorn

from api.app import create_app
from operations import logs
from operations.settings import settings

if __name__ == "__main__":
    logs.configure()
    uvicorn.run(
        create_app(),
        host=settings().api_host,
        port=settings().api_port,
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        # long polls and event streams end by themselves; this bounds how long a stop waits for them
        timeout_graceful_shutdown=5,
    )
