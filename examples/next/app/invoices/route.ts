/** `POST /invoices` writes one in an audited transaction: who, why and which request come from the wrapper and the call. */
import { audit } from "threadline/http/web"
import { audited } from "threadline/pg"
import { pool } from "../../lib/database"
import { sessionOf } from "../../lib/session"

const asked = async (request: Request): Promise<{ customer: string; total: string } | undefined> => {
  const body: unknown = await request.json().catch(() => undefined)
  return typeof body === "object" &&
    body !== null &&
    "customer" in body &&
    typeof body.customer === "string" &&
    "total" in body &&
    typeof body.total === "string" &&
    /^\d{1,10}(\.\d{1,2})?$/.test(body.total)
    ? { customer: body.customer, total: body.total }
    : undefined
}

export const POST = audit(
  async (request: Request) => {
    const invoice = await asked(request)
    if (sessionOf(request) === undefined) {
      return Response.json({ error: "sign in first" }, { status: 401 })
    }
    if (invoice === undefined) {
      return Response.json({ error: "customer and total are strings, and total is an amount" }, { status: 400 })
    }
    const id = await audited(
      pool,
      { action: (id: number) => ({ name: "invoice.created", subject: { type: "invoice", id } }) },
      async (client) => {
        const { rows } = await client.query<{ id: number }>(
          "insert into invoices (customer, total) values ($1, $2) returning id",
          [invoice.customer, invoice.total]
        )
        const [row] = rows
        if (row === undefined) {
          throw new Error("the database returned no row")
        }
        return row.id
      }
    )
    return Response.json({ id }, { status: 201 })
  },
  {
    source: "shop",
    route: "/invoices",
    actor: (request) => {
      const session = sessionOf(request)
      return session === undefined ? { type: "anonymous" } : { type: "user", id: session.id, label: session.name }
    }
  }
)
