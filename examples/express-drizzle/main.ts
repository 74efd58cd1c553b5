/** `npm run example:express`: the shop on a database of its own. */
import * as Effect from "effect/Effect"
import { port, prepare, run } from "../database.js"
import { start } from "./app.js"
import { captured, createTables } from "./schema.js"

run((url) =>
  Effect.gen(function* () {
    yield* prepare(url, createTables, captured)
    const at = yield* port
    const shop = yield* Effect.acquireRelease(
      Effect.promise(() => start(url, at)),
      ({ stop }) => Effect.promise(stop)
    )
    return shop.origin
  })
)
