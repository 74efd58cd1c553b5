import { inject } from "vitest"
import type { TestServer } from "./serverSetup.js"

const servers = inject("threadlineTestServers")

const own = servers[(Number(process.env["VITEST_POOL_ID"]) - 1) % servers.length]
if (own === undefined) {
  throw new Error(`no server for process ${process.env["VITEST_POOL_ID"]} of ${servers.length}`)
}

/** The server of this process. */
export const server: TestServer = own
