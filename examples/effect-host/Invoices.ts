/** The invoices of the tenant that is signed in. Every write is an audited transaction; who acts comes from the session. */
import * as SqlClient from "@effect/sql/SqlClient"
import * as Effect from "effect/Effect"
import { Audit } from "threadline"
import { Actions, ofInvoice } from "./Actions.js"
import { Invoice, InvoiceNotFound, type NewInvoice } from "./Api.js"
import { queueReceipt } from "./Jobs.js"
import { CurrentUser } from "./Session.js"

type Row = typeof Invoice.Encoded

/** Failures of a handler: a database that is not there is a 503, the host's own errors pass, the rest is a 500. */
const answered = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  effect.pipe(
    Audit.withTags,
    Effect.catchAll((error) =>
      error instanceof InvoiceNotFound || error instanceof Audit.Unavailable ? Effect.fail(error) : Effect.die(error)
    )
  )

export const list = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  const { tenant } = yield* CurrentUser
  const rows = yield* sql<Row>`
    select id, customer, state, total from invoices where tenant = ${tenant} order by id limit 100`
  return rows.map((row) => new Invoice(row))
}).pipe(Effect.orDie)

export const create = ({ customer, total }: NewInvoice) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const { tenant } = yield* CurrentUser
    const insert = Effect.flatMap(
      sql<Row>`
        insert into invoices ${sql.insert({ tenant, customer, total })}
        returning id, customer, state, total`,
      ([row]) =>
        row === undefined ? Effect.dieMessage("the database returned no row") : Effect.succeed(new Invoice(row))
    )
    // The id is known only when the row is there.
    return yield* Audit.withTransaction(insert, {
      action: ({ id }: Invoice) => Actions["invoice.created"]({ tenant }, ofInvoice(id))
    })
  }).pipe(answered)

export const pay = (id: number) =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const { tenant } = yield* CurrentUser
    const update = Effect.gen(function* () {
      const [row] = yield* sql<Row>`
        update invoices set state = 'paid' where id = ${id} and tenant = ${tenant}
        returning id, customer, state, total`
      if (row === undefined) {
        return yield* new InvoiceNotFound({ id })
      }
      yield* queueReceipt(id)
      return new Invoice(row)
    })
    return yield* Audit.withTransaction(update, { action: Actions["invoice.paid"]({ tenant }, ofInvoice(id)) })
  }).pipe(answered)
