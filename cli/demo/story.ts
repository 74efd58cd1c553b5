/**
 * What happens in the demonstration: Threadline is installed, captures the tables of a small host application, and a working day happens to
 * them. Then somebody asks what the record says of it.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { mkdtemp, rm } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Capture from "../../src/Capture.js"
import * as ExportStore from "../../src/ExportStore.js"
import * as Migrations from "../../src/Migrations.js"
import * as Query from "../../src/Query.js"
import * as Threadline from "../../src/Threadline.js"
import * as Host from "./host.js"
import * as Large from "./large.js"
import * as Print from "./print.js"
import * as Traffic from "./traffic.js"
import { auditSchema, ownerRole, workspace } from "./workspace.js"

/** What an application does once: install the record, and say what is captured. */
const install = Effect.gen(function* () {
  const { applied, owner } = yield* Migrations.run({ schema: auditSchema, ownerRole: ownerRole })
  yield* Print.text(`Installed ${applied.length} migrations in ${auditSchema}, owned by ${owner}.`)
})

const capture = Effect.gen(function* () {
  const steps = yield* Capture.apply(Host.tables)
  for (const { kind, table } of steps) {
    yield* Print.say(`Capture: ${kind} ${table}`)
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
export const investigate = Effect.fnUntraced(function* ({ before, correction }: Traffic.Outcome) {
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

/** Where exports lie that the pages queue, until the scope ends. */
const files = Effect.map(
  Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "threadline-demo-"))),
    (path) => Effect.promise(() => rm(path, { recursive: true, force: true }))
  ),
  ExportStore.layerDirectory
)

/**
 * Lives the day in the database of the client, after a year if `large`. The services read its record until the scope ends,
 * which removes all of it. The psql session of the story has a client of its own.
 */
export const live = Effect.fnUntraced(function* <E, R>(
  psqlClient: Layer.Layer<SqlClient.SqlClient, E, R>,
  { large }: { readonly large: boolean }
) {
  const sql = yield* SqlClient.SqlClient
  yield* workspace
  yield* install
  yield* Host.createTables
  const services = yield* Layer.build(
    Threadline.layer({
      schema: auditSchema,
      writer: Layer.succeed(SqlClient.SqlClient, sql),
      exports: { store: yield* files }
    })
  )
  const outcome = yield* Effect.gen(function* () {
    yield* capture
    if (large) {
      yield* Large.liveYear
      yield* Large.governance
    }
    return yield* Traffic.run(psqlClient)
  }).pipe(Effect.provide(services))
  return { services, outcome }
})
