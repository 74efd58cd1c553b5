/**
 * A workflow of `@effect/workflow` whose steps are audited. Its payload carries the context of its cause in an envelope, and each step that
 * writes is an activity with one audited transaction.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Activity from "@effect/workflow/Activity"
import * as Workflow from "@effect/workflow/Workflow"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Actor, Audit, AuditContext } from "threadline"

/** The mail server could not be reached, which passes. */
export class MailFailed extends Schema.TaggedError<MailFailed>()("MailFailed", {}) {}

/** Sends mail. */
export class Mail extends Context.Tag("workflow/Mail")<
  Mail,
  { readonly send: (invoice: number) => Effect.Effect<void, MailFailed> }
>() {}

/** Sends the receipt of an invoice, then closes the invoice. */
export const SendReceipt = Workflow.make({
  name: "SendReceipt",
  payload: { invoice: Schema.Int, envelope: Schema.String },
  error: MailFailed,
  // An invoice has one receipt, however often it is asked for.
  idempotencyKey: ({ invoice }) => String(invoice)
})

const actor = Actor.job("send-receipt")

/** The context of a run: that of its cause. If the envelope is not right, it runs in its own name alone. */
const contextOf = (envelope: string, jobId: string) =>
  AuditContext.fromEnvelope(envelope, { actor, jobId, source: "workflow" }).pipe(
    Effect.catchTag("threadline/InvalidRequest", () => Effect.succeed({ actor, jobId, source: "workflow" }))
  )

export const SendReceiptLive = SendReceipt.toLayer(({ envelope, invoice }, executionId) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const mail = yield* Mail
    const context = yield* contextOf(envelope, executionId)
    const subject = { type: "invoice", id: String(invoice) }

    yield* Activity.make({
      name: "receipt",
      error: MailFailed,
      execute: sql`insert into receipts (invoice) values (${invoice}) on conflict do nothing`.pipe(
        Effect.zipRight(mail.send(invoice)),
        Audit.withTransaction({ action: { name: "receipt.sent", subject }, requireChanges: true }),
        AuditContext.withContext(context),
        // The process ended between COMMIT and the engine's note of it, so that the step runs again: it is done.
        Effect.catchIf(Audit.hasReason("NoChanges"), () => Effect.void),
        Effect.catchAll((error) => (error instanceof MailFailed ? Effect.fail(error) : Effect.die(error)))
      )
    }).pipe(Activity.retry({ times: 3 }))

    yield* Activity.make({
      name: "close",
      execute: sql`update invoices set state = 'closed' where id = ${invoice}`.pipe(
        Audit.withTransaction({ action: { name: "invoice.closed", subject } }),
        AuditContext.withContext(context),
        Effect.orDie
      )
    })
  })
)
