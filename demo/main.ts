/**
 * The demonstration: `npm run demo`. It installs Threadline, captures the tables of a small host application, lets a working
 * day happen to them, prints what the record says of it, and serves it as pages until it is stopped; with `--exit` it ends by itself.
 * With `--large` a year goes before that day.
 * Nothing of it is left afterwards.
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as SqlClient from "@effect/sql/SqlClient"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import { Capture, ExportJobs, Migrations, Query, Threadline } from "threadline"
import * as Database from "./database.js"
import { toDemoError } from "./errors.js"
import * as Host from "./host.js"
import * as Large from "./large.js"
import * as Pages from "./pages.js"
import * as Print from "./print.js"
import * as Traffic from "./traffic.js"

/** What an application does once: install the record, and say what is captured. */
const install = Effect.gen(function* () {
  const { applied, owner } = yield* Migrations.run({ schema: Database.auditSchema, ownerRole: Database.ownerRole })
  yield* Print.text(`Installed ${applied.length} migrations in ${Database.auditSchema}, owned by ${owner}.`)
})

const capture = Effect.gen(function* () {
  const steps = yield* Capture.apply(Host.tables)
  for (const { kind, table } of steps) {
    yield* Console.log(`Capture: ${kind} ${table}`)
  }
})

/** The tables of the record are a contract, too: whatever no service answers can be asked in SQL. */
const failedAttempts = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<Print.Attempt>`
    select name, subject_type || ' ' || subject_id as subject, actor ->> 'label' as actor
    from threadline_demo_audit.audit_actions
    where status = 'error' and occurred_at > now() - interval '1 hour'
    order by id`
)

/** What an operator asks afterwards. */
const investigate = Effect.fnUntraced(function* ({ before, correction }: Traffic.Outcome) {
  yield* Print.heading("The timeline, newest first")
  const { items } = yield* Query.timeline()
  yield* Print.timeline(items)

  yield* Print.heading("What the timeline alone does not tell")
  const unattributed = yield* Query.timeline({ unattributed: true })
  yield* Print.unattributed(unattributed.items)
  yield* Print.failedAttempts(yield* failedAttempts)

  yield* Print.heading("One incident: why is invoice 1001 only 398.90?")
  yield* Print.incident(yield* Query.incident(correction))

  yield* Print.heading("The same row before: invoice_lines 1001/1")
  yield* Print.asOf(yield* Query.asOf("threadline_demo.invoice_lines", { invoice_id: 1001, line: 1 }, before))

  const last = items[0]?.capturedAt ?? before
  yield* Print.heading("What the record does not know: users 1, email masked, password excluded")
  yield* Print.asOf(yield* Query.asOf("threadline_demo.users", "1", last))
})

const story = Effect.fnUntraced(function* (place: Database.Place) {
  const sql = yield* SqlClient.SqlClient
  yield* Console.log(`Running in ${place.description}.`)
  yield* Database.workspace
  yield* install
  yield* Host.createTables
  const services = Threadline.layer({
    schema: Database.auditSchema,
    writer: Layer.succeed(SqlClient.SqlClient, sql),
    exports: { store: yield* Pages.files }
  })
  const isLarge = process.argv.includes("--large")
  yield* Effect.gen(function* () {
    yield* capture
    if (isLarge) {
      yield* Large.year
      yield* Large.governance
    }
    yield* investigate(yield* Traffic.run(Database.client(place, "psql")))
  }).pipe(Effect.provide(services))
  yield* Print.goOn
  if (!process.argv.includes("--exit")) {
    yield* Layer.launch(ExportJobs.layerWorker().pipe(Layer.provide(services))).pipe(Effect.forkScoped)
    yield* Pages.serve(services, isLarge)
    yield* Effect.never
  }
})

const main = Effect.gen(function* () {
  const place = yield* Database.place
  yield* Effect.provide(Effect.scoped(story(place)), Database.client(place, "threadline-demo"))
  return 0
}).pipe(
  Effect.scoped,
  Effect.catchAll((error) => {
    const { exitCode, message } = toDemoError(error)
    return Effect.as(Console.error(`demo: ${message}`), exitCode)
  })
)

// Everything is cleaned up once, however often somebody presses Ctrl-C, closes the terminal, or ends the pipe.
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.on(signal, () => undefined)
}
process.on("SIGHUP", () => process.emit("SIGTERM", "SIGTERM"))
process.stdout.on("error", () => process.emit("SIGTERM", "SIGTERM"))

NodeRuntime.runMain(main, {
  teardown: (exit, onExit) =>
    onExit(
      Exit.isSuccess(exit) ? (typeof exit.value === "number" ? exit.value : 0) : Exit.isInterrupted(exit) ? 130 : 1
    )
})
