/** The pages over what the demo recorded: an application mounts them the same way, with an `authorize` that knows its people. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { createServer } from "node:http"
import { Actor, type Query } from "threadline"
import { OperatorSurface } from "threadline/operator"
import { DemoError } from "./errors.js"
import * as Host from "./host.js"

/** Serves the pages on this machine until the scope ends. */
export const serve = <E>(services: Layer.Layer<Query.Query, E>) =>
  Effect.gen(function* () {
    const { handler } = yield* Effect.acquireRelease(
      Effect.sync(() =>
        OperatorSurface.toNodeHandler(services, {
          health: { tables: Host.tables },
          relations: {
            "threadline_demo.invoices": {
              lines: { table: "threadline_demo.invoice_lines", columns: { invoice_id: "id" } },
              customer: { table: "threadline_demo.users", columns: { id: "customer_id" } }
            }
          },
          authorize: () => ({
            viewer: Actor.admin("900", { label: "Rosa, support" }),
            scope: "everything",
            capabilities: ["export", "coverage", "policy", "evidence"]
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
