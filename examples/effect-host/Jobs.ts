/**
 * Jobs in a table. A job is made in the transaction that causes it, with the context of that transaction in an envelope, and it is done and
 * removed in one transaction.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { Actor, Audit, AuditContext } from "threadline"
import { Actions, ofInvoice } from "./Actions.js"

const actor = Actor.job("send-receipt")

/** Who can write into the table could write an envelope, so it is signed. */
const key = process.env["ENVELOPE_KEY"] ?? crypto.randomUUID()

/** Queues the receipt of an invoice, in the transaction that it is part of. */
export const queueReceipt = (invoice: number) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const envelope = yield* AuditContext.toEnvelope({ key })
    yield* sql`insert into jobs ${sql.insert({ invoice, envelope })}`
  })

interface Job {
  readonly id: string
  readonly invoice: number
  readonly envelope: string
  readonly tenant: string
  readonly customer: string
}

/** Takes a job for a minute. If its worker ends before it is done, another one takes it then. */
const take = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => sql<Job>`
    update jobs j
    set run_at = now() + interval '1 minute'
    from invoices i
    where i.id = j.invoice
      and j.id = (select id from jobs where run_at <= now() order by run_at limit 1 for update skip locked)
    returning j.id, j.invoice, j.envelope, i.tenant, i.customer`
)

const send = ({ customer, id, invoice, tenant }: Job) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const removed = yield* sql`delete from jobs where id = ${id} returning id`
    if (removed.length > 0) {
      yield* sql`
        insert into receipts ${sql.insert({ invoice, tenant, sent_to: customer })}
        on conflict (invoice) do nothing`
    }
  }).pipe(Audit.withTransaction({ action: Actions["receipt.sent"]({ tenant }, ofInvoice(invoice)) }))

/** The context of a job: that of its cause. If the envelope is not right, the job is done all the same, in its own name alone. */
const contextOf = ({ envelope, id }: Job) => {
  const own = { actor, jobId: id, source: "worker" }
  return AuditContext.fromEnvelope(envelope, { ...own, key, maxAge: "7 days" }).pipe(
    Effect.catchTag("threadline/InvalidRequest", () => Effect.succeed(own))
  )
}

const next = Effect.gen(function* () {
  const [job] = yield* take
  if (job !== undefined) {
    yield* AuditContext.withContext(send(job), yield* contextOf(job))
  }
  return job !== undefined
})

/** Does every job that is there, and looks again each half second. A failure is logged and the job tried again. */
export const worker = next.pipe(
  Effect.repeat({ while: (found) => found }),
  Effect.catchAll((error) => Effect.logError("a job failed", error)),
  Effect.repeat(Schedule.spaced("500 millis"))
)
