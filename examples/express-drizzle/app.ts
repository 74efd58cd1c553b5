/** The shop: Express, Drizzle on node-postgres, sessions by better-auth, jobs by pg-boss. */
import { toNodeHandler } from "better-auth/node"
import { eq } from "drizzle-orm"
import { drizzle } from "drizzle-orm/node-postgres"
import express from "express"
import { createServer } from "node:http"
import pg from "pg"
import { audited } from "threadline/drizzle"
import { audit } from "threadline/http/express"
import { actorOf, makeAuth, migrate } from "./auth.js"
import { queueReceipt, startJobs } from "./jobs.js"
import { invoices } from "./schema.js"

/** What may be asked for; anything else is a 400. */
const customerOf = (body: unknown): { customer: string; total: string } | undefined =>
  typeof body === "object" &&
  body !== null &&
  "customer" in body &&
  typeof body.customer === "string" &&
  "total" in body &&
  typeof body.total === "string" &&
  /^\d{1,10}(\.\d{1,2})?$/.test(body.total)
    ? { customer: body.customer, total: body.total }
    : undefined

const idOf = (text: string): number | undefined => (/^[1-9]\d{0,8}$/.test(text) ? Number(text) : undefined)

/** A running shop. */
export interface Running {
  readonly origin: string
  readonly stop: () => Promise<void>
}

/** Starts the shop on a database that has its tables. */
export const start = async (url: string, port: number): Promise<Running> => {
  const pool = new pg.Pool({ connectionString: url, application_name: "shop", max: 5 })
  // A session that the server ends while nobody uses it. The pool opens another one.
  pool.on("error", (error) => console.error(error.message))
  const db = drizzle(pool)
  const app = express()
  const server = createServer(app)
  const origin = await new Promise<string>((resolve, reject) => {
    server.once("error", reject)
    server.listen(port, "127.0.0.1", () => {
      const address = server.address()
      resolve(`http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : port}`)
    })
  })
  const auth = makeAuth(pool, origin)
  await migrate(auth)
  const boss = await startJobs(url, db)

  app.use(audit({ source: "shop", actor: (request: express.Request) => actorOf(auth, request.headers) }))
  app.all("/api/auth/*rest", toNodeHandler(auth))
  app.use(express.json())

  app.use("/invoices", async (request, response, next) => {
    if ((await actorOf(auth, request.headers)).type === "anonymous") {
      response.status(401).json({ error: "sign in first" })
    } else {
      next()
    }
  })

  app.post("/invoices", async (request, response) => {
    const asked = customerOf(request.body)
    if (asked === undefined) {
      response.status(400).json({ error: "customer and total are strings, and total is an amount" })
      return
    }
    const id = await audited(
      db,
      // The id is known only when the body has run.
      { action: (id: number) => ({ name: "invoice.created", subject: { type: "invoice", id } }) },
      async (tx) => {
        const [row] = await tx.insert(invoices).values(asked).returning({ id: invoices.id })
        if (row === undefined) {
          throw new Error("the database returned no row")
        }
        return row.id
      }
    )
    response.status(201).json({ id })
  })

  app.post("/invoices/:id/pay", async (request, response) => {
    const id = idOf(request.params.id)
    if (id === undefined) {
      response.sendStatus(404)
      return
    }
    const paid = await audited(
      db,
      { action: { name: "invoice.paid", subject: { type: "invoice", id } } },
      async (tx) => {
        const [row] = await tx
          .update(invoices)
          .set({ state: "paid" })
          .where(eq(invoices.id, id))
          .returning({ customer: invoices.customer })
        if (row !== undefined) {
          await queueReceipt(boss, tx, { invoice: id, customer: row.customer })
        }
        return row !== undefined
      }
    )
    response.sendStatus(paid ? 204 : 404)
  })

  app.use(((error, _request, response, _next) => {
    console.error(error)
    response.status(500).json({ error: "failed" })
  }) satisfies express.ErrorRequestHandler)

  return {
    origin,
    stop: async () => {
      server.closeAllConnections()
      await new Promise((closed) => server.close(closed))
      await boss.stop({ timeout: 2_000 })
      await pool.end()
    }
  }
}
