/** A small record and the pages over it. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as Capture from "../../src/Capture.js"
import * as Continuity from "../../src/Continuity.js"
import * as Migrations from "../../src/Migrations.js"
import * as OperatorSurface from "../../src/OperatorSurface.js"
import * as Retention from "../../src/Retention.js"
import * as Threadline from "../../src/Threadline.js"

/** Every service over the client in context. */
export const services = Effect.map(SqlClient.SqlClient, (sql) =>
  Threadline.layer({ writer: Layer.succeed(SqlClient.SqlClient, sql) })
)

export const hostile = `</script><script>alert(1)</script>"'><img src=x onerror=alert(1)>\u202Eevil`

/** Invoices of two tenants, written by people with hostile names. */
export const seed = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const layer = yield* services
  yield* sql.unsafe(`
    create table invoices (id int primary key, tenant text not null, state text, note text, doc jsonb, card text);
    create table members (account text, person int, role text, primary key (account, person))`)
  return yield* Effect.gen(function* () {
    yield* Capture.apply([{ table: "invoices", mask: ["card"] }, { table: "members" }])
    const opened = yield* Audit.transaction(
      sql`insert into invoices values (2041, 'acme', 'open', 'charged once', '{"a":1}', '4242')`,
      {
        action: "invoice.opened",
        actor: Actor.user("42", { label: "billing desk" }),
        correlationId: "req-9f2c",
        requestId: "r-1"
      }
    )
    const refunded = yield* Audit.transaction(
      Effect.zipRight(
        sql`update invoices set state = 'refunded', note = 'charged twice', doc = '{"a":2,"b":[1]}', card = '1111' where id = 2041`,
        sql`insert into members values ('acme', 7, 'owner')`
      ),
      {
        action: { name: "invoice.refunded", reason: "duplicate charge" },
        actor: Actor.user("42", { label: "billing desk", impersonator: Actor.admin("3") }),
        correlationId: "req-9f2c"
      }
    )
    const other = yield* Audit.transaction(
      sql`insert into invoices (id, tenant, state, note) values (1, 'globex', ${hostile}, ${hostile})`,
      {
        action: { name: "invoice.opened", reason: hostile, comment: hostile, data: { [hostile]: hostile } },
        actor: Actor.user(hostile, { label: hostile }),
        correlationId: hostile,
        requestId: hostile,
        source: hostile,
        meta: { [hostile]: hostile }
      }
    )
    yield* sql`update invoices set note = 'by hand' where id = 2041`
    yield* Audit.record("invoice.deleted", { status: "error", actor: Actor.user("42") })
    const id = ({ transactionId }: Audit.Audited<unknown>) => Effect.orDie(transactionId)
    return { opened: yield* id(opened), refunded: yield* id(refunded), other: yield* id(other) }
  }).pipe(Effect.provide(layer))
})

/**
 * Rows with every kind of history. `visits` 1 existed before capture; its table was removed from capture, captured
 * again, renamed and altered. Retention removed all changes of `visits` 2, and the first ones of 3. The columns of
 * `visits` are not in alphabetical order.
 */
export const lived = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const layer = yield* services
  yield* Migrations.run({ watchSchema: true })
  yield* sql.unsafe(`
    create table patients (id int primary key, name text);
    create table stays (zone text, id int primary key, patient_id int, bed text);
    insert into patients values (7, 'Ines');
    insert into stays values ('north', 1, 7, 'a')`)
  return yield* Effect.gen(function* () {
    yield* Capture.apply([{ table: "patients" }, { table: "stays" }])
    yield* Continuity.baseline({ tables: ["patients", "stays"] })
    yield* sql`insert into stays values ('south', 2, 7, 'old'), ('south', 3, 7, 'old')`
    yield* sql`delete from stays where id = 2`
    // Move the changes of 2 and 3 so far back that retention removes them.
    // A partition belongs to the role that makes it, which must be the owner of the record.
    yield* sql`
      select set_config('role', pg_get_userbyid(nspowner), true), threadline.ensure_partitions(now() - interval '200 days', now())
      from pg_namespace
      where nspname = 'threadline'`
    yield* sql`
      update threadline.audit_changes set captured_at = captured_at - interval '150 days' where row_key in ('2', '3') and table_name = 'stays'`
    yield* sql`
      update threadline.audit_transactions t set occurred_at = occurred_at - interval '150 days'
      where exists (select from threadline.audit_changes c where c.transaction_id = t.id and c.row_key in ('2', '3') and c.table_name = 'stays')`
    yield* sql`update threadline.capture_policies set captured_since = captured_since - interval '180 days' where table_name = 'stays'`
    const plan = yield* Retention.plan({ keep: "90 days" })
    yield* Effect.withClock(Retention.purge(plan, { actor: Actor.admin("1") }), Clock.make())
    yield* sql`update stays set bed = 'b' where id in (1, 3)`
    yield* Capture.remove(["stays"])
    yield* sql`update stays set bed = 'unseen' where id = 1`
    yield* Capture.apply([{ table: "patients" }, { table: "stays" }])
    yield* sql.unsafe("alter table stays add column note text; alter table stays rename to visits")
    yield* sql`update visits set bed = 'c', note = 'moved' where id = 1`
    return { removed: plan.changes }
  }).pipe(Effect.provide(layer))
})

export const everything = {
  viewer: Actor.admin("1", { label: "support" }),
  scope: "everything",
  capabilities: ["export", "coverage", "policy", "evidence", "retention"]
} as const satisfies OperatorSurface.Access

/** Asks for pages until the scope ends. */
export const pages = (options: OperatorSurface.Options<Request> = { authorize: () => everything }) =>
  Effect.gen(function* () {
    const layer = yield* services
    const { handler } = yield* Effect.acquireRelease(
      // So long that no page leaves something out because the machine is busy.
      Effect.sync(() => OperatorSurface.toWebHandler(layer, { timeout: "2 minutes", ...options })),
      ({ dispose }) => Effect.promise(dispose)
    )
    return (path: string, init?: RequestInit) =>
      Effect.promise(async () => {
        const response = await handler(new Request(`http://host.test${path}`, init))
        return { status: response.status, headers: response.headers, body: await response.text() }
      })
  })

/** The text of a page, without markup. */
export const textOf = (html: string): string =>
  html
    .replaceAll(/<(style|script)>.*?<\/\1>/gs, "")
    .replaceAll(/<[^>]+>/g, "")
    .replaceAll("&lt;", "<")
    .replaceAll("&quot;", '"')
    .replaceAll("&amp;", "&")
