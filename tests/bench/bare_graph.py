"""The least a client can do: a token once, then one call to Microsoft Graph after the other, each on a fresh connection, with aiohttp.

CA_FILE PORT TENANT RATE SECONDS on the command line; prints how many calls were right and the CPU seconds they took.
"""

import asyncio
import ssl
import sys
import time

import aiohttp
import uvloop


async def _call(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> bool:
    async with session.get(url, headers=headers) as answer:
        return answer.status == 200 and "value" in await answer.json()


async def _main(ca_file: str, port: str, tenant: str, rate: float, seconds: float) -> None:
    connector = aiohttp.TCPConnector(force_close=True, ssl=ssl.create_default_context(cafile=ca_file))
    async with aiohttp.ClientSession(connector=connector) as session:
        form = {"grant_type": "client_credentials", "client_id": "b", "client_secret": "s", "scope": "https://graph.microsoft.com/.default"}
        async with session.post(f"https://localhost:{port}/{tenant}/oauth2/v2.0/token", data=form) as answer:
            headers = {"Authorization": f"Bearer {(await answer.json())['access_token']}", "Accept": "application/json"}
        url = f"https://localhost:{port}/v1.0/organization?$select=id,displayName"
        await _call(session, url, headers)
        began, spent = time.perf_counter(), time.process_time()
        calls = []
        for number in range(int(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            calls.append(asyncio.create_task(_call(session, url, headers)))
        right = sum(await asyncio.gather(*calls))
        sys.stdout.write(f"{right} {time.process_time() - spent}\n")


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1], sys.argv[2], sys.argv[3], float(sys.argv[4]), float(sys.argv[5])))
