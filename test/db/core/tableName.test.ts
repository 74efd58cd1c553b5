import * as SqlClient from "@effect/sql/SqlClient"
import { expect, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as tableName from "../../../src/internal/core/tableName.js"
import * as TestDatabase from "../../harness/TestDatabase.js"

layer(TestDatabase.layerEmpty)("table names of PostgreSQL", (it) => {
  it.effect("name the same tables there", () =>
    Effect.gen(function* () {
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe(`
        create schema "Odd.Schema";
        create table "Odd.Schema"."T ""x""" ();
        create schema "select";
        create table "select"."table" ();
        create table "select".übung ();
      `)
      for (const [schema, name] of [
        ["Odd.Schema", 'T "x"'],
        ["select", "table"],
        ["select", "übung"]
      ] as const) {
        const text = tableName.format({ schema, name })
        const [row] = yield* sql<{ found: string; quoted: string }>`
          select
            to_regclass(${text})::oid = (
              select c.oid
              from pg_class c
              join pg_namespace n on n.oid = c.relnamespace
              where n.nspname = ${schema}
                and c.relname = ${name}
            ) as found,
            quote_ident(${schema}) || '.' || quote_ident(${name}) as quoted
        `
        expect([text, row?.found]).toEqual([text, true])
        expect(tableName.parse(row?.quoted ?? "")).toEqual(Either.right({ schema, name }))
      }
    })
  )
})
