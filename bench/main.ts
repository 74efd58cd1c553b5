/** What capture costs, as ratios measured side by side in one run. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Capture from "../src/Capture.js"
import * as Migrations from "../src/Migrations.js"
import { floor, generic, genericOn, host, procedures } from "./contestants.js"
import { measure, quick, thorough } from "./measure.js"
import { flag, json, options } from "./options.js"
import { print, report } from "./report.js"
import { database, Session } from "./server.js"
import { transactions } from "./transaction.js"

const asked = options("What capture costs, as ratios measured side by side in one run.", {
  quick: flag("half a minute, for a rough look"),
  json
})
const progress = (text: string): void => {
  if (!asked.json) process.stderr.write(`${text}\n`)
}

const install = (url: string) =>
  Effect.gen(function* () {
    yield* Migrations.run()
    const capture = yield* Capture.Capture
    yield* capture.apply([{ table: "accounts" }])
  }).pipe(
    Effect.provide(Layer.provideMerge(Capture.layer, PgClient.layer({ url: Redacted.make(url), maxConnections: 2 })))
  )

const bench = Effect.gen(function* () {
  const effort = asked.quick ? quick : thorough
  const { url, version } = yield* database
  const session = yield* Effect.acquireRelease(
    Effect.promise(() => Session.open(url)),
    (open) => Effect.promise(() => open.close())
  )
  progress("preparing")
  yield* Effect.promise(() => session.run(host(100_000)))
  yield* install(url)
  yield* Effect.promise(() => session.run(floor, generic, genericOn("accounts"), procedures, "vacuum analyze accounts"))
  const measured = yield* Effect.promise(() => measure(session, effort, progress))
  progress("whole transactions")
  yield* Effect.promise(() =>
    session.run(
      "alter table accounts disable trigger generic_capture",
      ...["insert", "update", "delete"].flatMap((op) => [
        `alter table accounts disable trigger bare_${op}`,
        `alter table accounts enable trigger "0_threadline_${op}"`
      ])
    )
  )
  const durations = yield* Effect.promise(() => transactions(url, effort))
  return report(version, measured, durations)
})

const result = await Effect.runPromise(Effect.scoped(bench))
console.log(asked.json ? JSON.stringify(result, null, 2) : print(result))
