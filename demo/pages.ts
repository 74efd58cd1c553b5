/** The pages over what the demo recorded: an application mounts them the same way, with an `authorize` that knows its people. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { mkdtemp, rm } from "node:fs/promises"
import { createServer } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Actor, ExportStore, type Query } from "threadline"
import { OperatorSurface } from "threadline/operator"
import { DemoError } from "./errors.js"
import * as Host from "./host.js"

/** Who looks at the pages of the demo. */
export const viewer = Actor.admin("900", { label: "Rosa, support" })

/** Where exports lie that the pages queue, until the scope ends. */
export const files = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "threadline-demo-"))),
    (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
  ),
  ExportStore.layerDirectory
)

/** Serves the pages on this machine until the scope ends. With a year to remove from, there is a policy of retention. */
export const serve = <E>(services: Layer.Layer<Query.Query, E>, withRetention: boolean) =>
  Effect.gen(function* () {
    const { handler } = yield* Effect.acquireRelease(
      Effect.sync(() =>
        OperatorSurface.toNodeHandler(services, {
          health: { tables: Host.tables },
          ...(withRetention ? { retention: { keep: "300 days" } } : {}),
          relations: {
            "threadline_demo.invoices": {
              lines: { table: "threadline_demo.invoice_lines", columns: { invoice_id: "id" } },
              customer: { table: "threadline_demo.users", columns: { id: "customer_id" } }
            }
          },
          authorize: () => ({
            viewer,
            scope: "everything",
            capabilities: ["export", "coverage", "policy", "evidence", "retention"]
          })
        })
      ),
      ({ dispose }) => Effect.promise(dispose)
    )
    const port = yield* Effect.acquireRelease(
      Effect.async<{ readonly port: number; readonly close: Effect.Effect<void> }, DemoError>((resume) => {
        const server = createServer(handler)
        server.once("error", ({ message }) =>
          resume(new DemoError({ exitCode: 1, message: `the pages cannot be served: ${message}` }))
        )
        server.listen(0, "127.0.0.1", () => {
          const address = server.address()
          resume(
            Effect.succeed({
              port: typeof address === "object" && address !== null ? address.port : 0,
              close: Effect.async<void>((closed) => {
                server.close(() => closed(Effect.void))
                server.closeAllConnections()
              })
            })
          )
        })
      }),
      ({ close }) => close
    )
    yield* Console.log(
      `\nThe same as pages: http://127.0.0.1:${port.port}/audit/\nCtrl+C ends the demo and removes everything it made.`
    )
  })
