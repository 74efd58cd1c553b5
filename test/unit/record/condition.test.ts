import * as Reactivity from "@effect/experimental/Reactivity"
import * as PgClient from "@effect/sql-pg/PgClient"
import * as SqlClient from "@effect/sql/SqlClient"
import { SqlError } from "@effect/sql/SqlError"
import { describe, expect, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { onConditionError } from "../../../src/internal/record/condition.js"
import type { Storage } from "../../../src/internal/record/storage.js"

/** Nothing is asked of the database. */
const sql = Effect.runSync(
  SqlClient.make({
    acquirer: Effect.dieMessage("no connection is needed"),
    compiler: PgClient.makeCompiler(),
    spanAttributes: []
  }).pipe(Effect.provide(Reactivity.layer))
)

const condition = sql`exists (
  select from
tenants t where t.name = ${"mine"})`

const storage: Storage = {
  sql,
  schema: "threadline",
  name: (object) => sql.literal(`threadline.${object}`),
  apart: false,
  anyBytes: false,
  restriction: { changes: [condition], actions: [true], text: "of mine" },
  cursorKey: Effect.dieMessage("no key is needed")
}

const answer = (code: string, message: string, fields: object = {}): string => {
  const error = onConditionError(storage)(
    new SqlError({
      message: "Failed to execute statement",
      cause: Object.assign(new Error(message), { code, ...fields })
    })
  )
  return error._tag === "threadline/InvalidRequest" ? `${error.field} ${error.rule}` : `${error.reason} ${error.detail}`
}

/** The languages that PostgreSQL is translated to differ in the order of words and in the quotes around names. */
const languages = {
  English: { denied: (name: string) => `permission denied for table ${name}`, quotes: ['"', '"'] },
  German: { denied: (name: string) => `keine Berechtigung für Tabelle ${name}`, quotes: ["»", "«"] },
  French: { denied: (name: string) => `droit refusé pour la table ${name}`, quotes: ["« ", " »"] },
  Japanese: { denied: (name: string) => `テーブル ${name} へのアクセスが拒否されました`, quotes: ['"', '"'] }
} as const

describe("An error of a statement with a scope", () => {
  for (const [language, { denied, quotes }] of Object.entries(languages)) {
    it(`names the table of the scope that the role may not read, if the server speaks ${language}`, () => {
      expect(answer("42501", denied("tenants"))).toBe(
        "scope needs tenants, which the database role may not read or call (42501)"
      )
    })

    it(`names nothing that the scope does not name, if the server speaks ${language}`, () => {
      const unnamed = "scope needs something that the database role may not read or call (42501)"
      expect(answer("42501", denied("secrets"))).toBe(unnamed)
      expect(answer("42501", denied("mine"))).toBe(unnamed)
      expect(answer("42501", denied("tenants"), { where: "PL/pgSQL" })).toBe(unnamed)
    })

    it(`is one of the Threadline schema if that lacks a privilege or a table, if the server speaks ${language}`, () => {
      expect(answer("42501", denied("audit_changes"))).toMatch(/^InsufficientPrivilege /)
      const named = (name: string) => `${quotes[0]}${name}${quotes[1]}: 42P01`
      expect(answer("42P01", named("threadline.audit_changes"))).toMatch(/^NotMigrated /)
      expect(answer("42P01", named("threadline.audit_changes_of_mine"), { position: "9" })).toMatch(
        /^scope is not understood/
      )
    })
  }
})
