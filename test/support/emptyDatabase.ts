import * as Effect from "effect/Effect"
import type pg from "pg"
import * as TestDatabase from "../harness/TestDatabase.js"

/** A database without the schema, and the name of a role to own it that nobody else uses; both are gone with the scope. */
export const emptyDatabase = Effect.gen(function* () {
  const database = yield* TestDatabase.make({ schema: false })
  const ownerRole = `${database.name}_owner`
  yield* Effect.addFinalizer(() =>
    TestDatabase.administer(`drop database if exists ${database.name} with (force)`, `drop role if exists ${ownerRole}`)
  )
  const raw = yield* database.rawClient()
  const query = <Row extends pg.QueryResultRow>(text: string) =>
    Effect.promise(async () => (await raw.query<Row>(text)).rows)
  return { database, ownerRole, query, url: database.url }
})
