import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { ownFunctions } from "../../../src/internal/sql/ownFunctions.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

layer(TestDatabase.layer)("The functions of the record", (it) => {
  it.effect("are known by their names, so that none of them is taken for a function of the host", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      const rows = yield* sql<{ readonly name: string }>`
        select distinct p.proname as name
        from pg_proc p
        join pg_language l on l.oid = p.prolang
        where p.pronamespace = 'threadline'::regnamespace and l.lanname = 'plpgsql'
        order by p.proname
      `
      expect([...ownFunctions].sort()).toEqual(rows.map(({ name }) => name).sort())
    })
  )
})
