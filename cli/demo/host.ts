/**
 * The host application: a small shop with a blog. Plain tables and plain statements; nothing here knows of Threadline, but for
 * `tables` at the end, which says what is captured, and `relations`.
 */
import * as SqlClient from "@effect/sql/SqlClient"
import type { SqlError } from "@effect/sql/SqlError"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Capture from "../../src/Capture.js"

/** An invoice that cannot be deleted, because money was received for it. */
export class InvoiceIsPaid extends Data.TaggedError("InvoiceIsPaid")<{ readonly invoice: number }> {}

type Write<E = never> = Effect.Effect<void, SqlError | E, SqlClient.SqlClient>

export interface User {
  readonly id: number
  readonly name: string
  readonly email: string
}

export interface Line {
  readonly line: number
  readonly item: string
  readonly quantity: number
  readonly unit_price: string
}

export const createTables: Write = Effect.gen(function* () {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    create table threadline_demo.users (
      id int primary key,
      name text not null,
      email text not null unique,
      password_hash text not null default 'unset'
    )`
  yield* sql`
    create table threadline_demo.posts (
      id int generated always as identity primary key,
      author_id int not null references threadline_demo.users on delete cascade,
      title text not null,
      status text not null default 'draft'
    )`
  yield* sql`
    create table threadline_demo.invoices (
      id int primary key,
      customer_id int not null,
      status text not null default 'draft',
      total numeric(12, 2) not null default 0,
      due_on date not null
    )`
  yield* sql`
    create table threadline_demo.invoice_lines (
      invoice_id int not null references threadline_demo.invoices on delete cascade,
      line int not null,
      item text not null,
      quantity int not null,
      unit_price numeric(10, 2) not null,
      primary key (invoice_id, line)
    )`
})

const run = (statement: (sql: SqlClient.SqlClient) => Effect.Effect<unknown, SqlError>): Write =>
  Effect.asVoid(Effect.flatMap(SqlClient.SqlClient, statement))

export const addUsers = (users: ReadonlyArray<User>): Write =>
  run((sql) => sql`insert into threadline_demo.users ${sql.insert(users.map((user) => ({ ...user })))}`)

export const deleteUser = (id: number): Write => run((sql) => sql`delete from threadline_demo.users where id = ${id}`)

export const setPassword = (id: number, hash: string): Write =>
  run((sql) => sql`update threadline_demo.users set password_hash = ${hash} where id = ${id}`)

export const writePost = (authorId: number, title: string): Write =>
  run((sql) => sql`insert into threadline_demo.posts (author_id, title) values (${authorId}, ${title})`)

export const publishPost = (title: string): Write =>
  run((sql) => sql`update threadline_demo.posts set status = 'published' where title = ${title}`)

export const draftInvoice = (id: number, customerId: number, dueOn: string): Write =>
  run(
    (sql) =>
      sql`insert into threadline_demo.invoices (id, customer_id, due_on) values (${id}, ${customerId}, ${dueOn}::date)`
  )

/** Adds the lines of a draft and sends it to the customer. */
export const issueInvoice = (id: number, lines: ReadonlyArray<Line>): Write =>
  Effect.zipRight(
    run(
      (sql) =>
        sql`insert into threadline_demo.invoice_lines ${sql.insert(lines.map((line) => ({ invoice_id: id, ...line })))}`
    ),
    send(id)
  )

export const correctQuantity = (invoice: number, line: number, quantity: number): Write =>
  Effect.zipRight(
    run(
      (sql) => sql`
        update threadline_demo.invoice_lines
        set quantity = ${quantity}
        where invoice_id = ${invoice} and line = ${line}`
    ),
    send(invoice)
  )

const send = (invoice: number): Write =>
  run(
    (sql) => sql`
      update threadline_demo.invoices
      set
        status = 'sent',
        total = (select sum(quantity * unit_price) from threadline_demo.invoice_lines where invoice_id = ${invoice})
      where id = ${invoice}`
  )

export const markOverdue = (today: string): Write =>
  run(
    (sql) =>
      sql`update threadline_demo.invoices set status = 'overdue' where status = 'sent' and due_on < ${today}::date`
  )

export const markPaid = (invoice: number): Write =>
  run((sql) => sql`update threadline_demo.invoices set status = 'paid' where id = ${invoice}`)

export const deleteInvoice = (id: number): Write<InvoiceIsPaid> =>
  Effect.gen(function* () {
    const sql = yield* SqlClient.SqlClient
    const [found] = yield* sql<{ readonly status: string }>`
      delete from threadline_demo.invoices where id = ${id} returning status`
    if (found?.status === "paid") {
      return yield* new InvoiceIsPaid({ invoice: id })
    }
  })

/** What is captured, and how. An application keeps this in `threadline.config.ts`. */
export const tables: ReadonlyArray<Capture.TableConfig> = [
  // Everybody may know that an address changed; nobody needs to know a password hash.
  { table: "threadline_demo.users", mask: ["email"], exclude: ["password_hash"] },
  { table: "threadline_demo.posts" },
  { table: "threadline_demo.invoices" },
  { table: "threadline_demo.invoice_lines" }
]

/** Which rows the pages show beside a row. */
export const relations = {
  "threadline_demo.invoices": {
    lines: { table: "threadline_demo.invoice_lines", columns: { invoice_id: "id" } },
    customer: { table: "threadline_demo.users", columns: { id: "customer_id" } }
  }
}
