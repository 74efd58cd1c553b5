/** A small record and the pages over it. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as Capture from "../../src/Capture.js"
import * as OperatorSurface from "../../src/OperatorSurface.js"
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
      Effect.sync(() => OperatorSurface.toWebHandler(layer, options)),
      ({ dispose }) => Effect.promise(dispose)
    )
    return (path: string, init?: RequestInit) =>
      Effect.promise(async () => {
        const response = await handler(new Request(`http://host.test${path}`, init))
        return { status: response.status, headers: response.headers, body: await response.text() }
      })
  })
