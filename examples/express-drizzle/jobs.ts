/** Jobs in pg-boss. A job is made in the transaction that causes it, and carries its context in an envelope. */
import { sql, type SQL } from "drizzle-orm"
import type { NodePgDatabase } from "drizzle-orm/node-postgres"
import PgBoss from "pg-boss"
import { ThreadlineError } from "threadline"
import { audited, fromEnvelope, toEnvelope, withContext } from "threadline/drizzle"
import { receipts } from "./schema.js"

const queue = "send-receipt"
const actor = { type: "job", id: queue } as const

interface Receipt {
  readonly invoice: number
  readonly customer: string
  readonly envelope: string
}

/** Who can write into the queue could write an envelope, so it is signed. */
const key = process.env["ENVELOPE_KEY"] ?? crypto.randomUUID()

/** A statement of pg-boss with its values, for Drizzle. */
const bound = (text: string, values: ReadonlyArray<unknown>): SQL =>
  sql.join(
    text
      .split(/\$(\d+)/)
      .map((part, index) => (index % 2 === 0 ? sql.raw(part) : sql`${sql.param(values[Number(part) - 1] ?? null)}`))
  )

/** Queues the job in a transaction: it exists if that commits. */
export const queueReceipt = async (
  boss: PgBoss,
  tx: Pick<NodePgDatabase, "execute">,
  { customer, invoice }: Omit<Receipt, "envelope">
): Promise<void> => {
  const data: Receipt = { invoice, customer, envelope: await toEnvelope({ key }) }
  await boss.send(queue, data, { db: { executeSql: (text, values) => tx.execute(bound(text, values)) } })
}

/** The context of a job: that of its cause. If the envelope is not right, the job is done all the same, in its own name alone. */
const contextOf = (job: PgBoss.Job<Receipt>) => {
  const own = { actor, jobId: job.id, source: "worker" }
  try {
    return fromEnvelope(job.data.envelope, { ...own, key, maxAge: "7 days" })
  } catch (error) {
    if (error instanceof ThreadlineError.InvalidRequest) {
      return own
    }
    throw error
  }
}

const sendReceipt = (db: NodePgDatabase, job: PgBoss.Job<Receipt>): Promise<unknown> =>
  withContext(contextOf(job), () =>
    audited(db, { action: { name: "receipt.sent", subject: { type: "invoice", id: job.data.invoice } } }, (tx) =>
      tx.insert(receipts).values({ invoice: job.data.invoice, sentTo: job.data.customer }).onConflictDoNothing()
    )
  )

/** The queue and its worker, which are one process here. */
export const startJobs = async (url: string, db: NodePgDatabase): Promise<PgBoss> => {
  const boss = new PgBoss(url)
  boss.on("error", (error) => console.error(error))
  await boss.start()
  await boss.createQueue(queue)
  await boss.work<Receipt>(queue, { pollingIntervalSeconds: 0.5 }, async (jobs) => {
    for (const job of jobs) {
      await sendReceipt(db, job)
    }
  })
  return boss
}
