/**
 * A working day at the host application, one audited transaction after another. Each shows one thing that can be said of a
 * write: who, why, on whose behalf, as part of what. The last ones show what is recorded when nobody says anything.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Actor from "../../src/Actor.js"
import * as Audit from "../../src/Audit.js"
import * as AuditContext from "../../src/AuditContext.js"
import * as Host from "./host.js"

const ada = Actor.user("1", { label: "Ada" })
const ben = Actor.user("2", { label: "Ben" })
const rosa = Actor.admin("900", { label: "Rosa, support" })
/** Who looks at the pages afterwards. */
export const viewer = rosa
const shop = Actor.serviceAccount("shop-api", { label: "shop" })
const billing = Actor.system("billing", { label: "billing" })

/** A visitor signs up: anonymous is an actor, and not the same as no actor. */
const signUp = Audit.transaction(Host.addUsers([{ id: 1, name: "Ada", email: "ada@example.com" }]), {
  action: "user.signed_up",
  actor: Actor.anonymous
})

/** An admin invites two people: several rows, one transaction, one reason. */
const invite = Audit.transaction(
  Host.addUsers([
    { id: 2, name: "Ben", email: "ben@example.com" },
    { id: 3, name: "Cleo", email: "cleo@example.com" }
  ]),
  { action: "user.invited", actor: rosa, reason: "new accounting team" }
)

/** The actor and the correlation can come from around: every write of a request has them then. */
const blogging = Effect.gen(function* () {
  yield* Audit.transaction(Host.writePost(1, "Hello"), { action: "post.created" })
  yield* Audit.transaction(Host.publishPost("Hello"), { action: "post.published" })
}).pipe(AuditContext.withActor(ada), AuditContext.withCorrelationId("req-1c40"))

/** An excluded column leaves no trace, not even that it changed; the intent is recorded all the same. */
const newPassword = Audit.transaction(Host.setPassword(1, "$argon2id$..."), { action: "password.changed", actor: ada })

/**
 * An order comes in from the shop, and billing issues its invoice. The inner call is a savepoint of the same database
 * transaction and has an actor and an action of its own.
 */
const order = (invoice: number, dueOn: string, lines: ReadonlyArray<Host.Line>) =>
  Audit.transaction(
    Effect.zipRight(
      Host.draftInvoice(invoice, 2, dueOn),
      Audit.transaction(Host.issueInvoice(invoice, lines), {
        action: { name: "invoice.issued", subject: { type: "invoice", id: String(invoice) } },
        actor: billing
      })
    ),
    { action: { name: "order.received", data: { invoice } }, actor: shop, correlationId: `order-${invoice}` }
  )

const orders = Effect.all([
  order(1001, "2026-01-31", [
    { line: 1, item: "Desk", quantity: 10, unit_price: "349.90" },
    { line: 2, item: "Lamp", quantity: 1, unit_price: "49.00" }
  ]),
  order(1002, "2026-02-15", [{ line: 1, item: "Chair", quantity: 4, unit_price: "120.00" }]),
  order(1003, "2026-02-28", [{ line: 1, item: "Shelf", quantity: 2, unit_price: "89.50" }])
])

/** Support corrects an invoice in the name of the customer: the record has both of them. */
const correction = Audit.transaction(Host.correctQuantity(1001, 1, 1), {
  action: "invoice.corrected",
  reason: "ordered one desk, not ten"
}).pipe(
  AuditContext.withActor(Actor.user("2", { label: "Ben", impersonator: rosa })),
  AuditContext.withCorrelationId("ticket-4711"),
  AuditContext.withRemoteIp("192.0.2.17"),
  AuditContext.withSource("support-desk")
)

/** A job changes many rows with one statement: every row is captured, the actor is the job. */
const dunning = Audit.transaction(Host.markOverdue("2026-03-01"), {
  action: "invoices.overdue",
  actor: Actor.job("dunning", { label: "dunning job" }),
  jobId: "run-2026-03-01"
})

/** Somebody at a psql prompt, who has never heard of Threadline. The row is captured; who it was is not known. */
const psql = Host.markPaid(1002)

/** The host refuses, the transaction rolls back, and the attempt is kept as an action with status error. */
const refused = Audit.transaction(Host.deleteInvoice(1002), {
  action: { name: "invoice.deleted", subject: { type: "invoice", id: "1002" } },
  actor: ben,
  onFailure: "record"
}).pipe(Effect.catchTag("InvoiceIsPaid", () => Effect.void))

/** Other clients of the database say who they are with one statement; here without an action. */
const otherClient = Effect.flatMap(SqlClient.SqlClient, (sql) => {
  const context = AuditContext.toSql({ actor: Actor.user("3", { label: "Cleo" }) }, { schema: "threadline_demo_audit" })
  return sql.withTransaction(
    Effect.zipRight(sql.unsafe(context.text, context.values), Host.writePost(3, "Quarterly numbers"))
  )
})

/** Deleting a user deletes her posts: what a foreign key does is captured like what a statement does. */
const offboarding = Audit.transaction(Host.deleteUser(3), { action: "user.deleted", actor: rosa, reason: "left" })

/** What the rest of the demo looks at. */
export interface Outcome {
  /** The audited transaction of the correction. */
  readonly correction: Audit.TransactionId
  /** An instant before it. */
  readonly before: string
}

const now = Effect.flatMap(SqlClient.SqlClient, (sql) =>
  sql<{ readonly now: string }>`select clock_timestamp()::text as now`.pipe(Effect.map(([row]) => row?.now ?? ""))
)

/** The whole day. Its psql session has a client of its own. */
export const run = <E, R>(psqlClient: Layer.Layer<SqlClient.SqlClient, E, R>) =>
  Effect.gen(function* () {
    yield* signUp
    yield* invite
    yield* blogging
    yield* newPassword
    yield* orders
    const before = yield* now
    const corrected = yield* correction
    yield* dunning
    yield* Effect.provide(psql, psqlClient)
    yield* refused
    yield* otherClient
    yield* offboarding
    const outcome: Outcome = { correction: yield* Effect.orDie(corrected.transactionId), before }
    return outcome
  })
