import * as Effect from "effect/Effect"
import * as Grants from "../../src/Grants.js"
import { StorageSchema } from "../../src/StorageSchema.js"
import { client, configuration, withSchema } from "../database.js"
import { ThreadlineError } from "../../src/ThreadlineError.js"
import { UsageError } from "../exit.js"
import { common, flag, values } from "../options.js"
import { answer, printJson, printSource, visible } from "../output.js"
import { leaf } from "../parser/declare.js"

/** PostgreSQL reads this name as everybody, even in quotes. */
const isEverybody = (role: string): boolean => role === "public" || role === "none"

/** Only a role that may act as the owner of the record can give rights on it. So the hint must not be "threadline grant". */
const refusedGrant = (schema: string, error: ThreadlineError): ThreadlineError =>
  error.sqlState === "42501"
    ? new ThreadlineError({
        reason: error.reason,
        detail: `the connected role may not act as the owner of the schema ${schema}, which gives these rights; connect as one that may`,
        sqlState: error.sqlState,
        cause: error
      })
    : error

export const grant = leaf(
  "grant",
  {
    ...common,
    writer: values("writer", "ROLE", "Role that sets context and records actions."),
    reader: values("reader", "ROLE", "Role that reads what is recorded."),
    operator: values("operator", "ROLE", "Role that works with what is recorded."),
    print: flag("print", "Print the SQL and change nothing.")
  },
  (options) =>
    Effect.gen(function* () {
      const configured = yield* configuration(options)
      const within = withSchema(options, configured)
      const everybody = [...options.writer, ...options.reader, ...options.operator].find(isEverybody)
      if (everybody !== undefined) {
        return yield* new UsageError({ message: `${everybody} is no role but everybody: name the roles that need it` })
      }
      if (options.writer.length + options.reader.length + options.operator.length === 0) {
        return yield* new UsageError({ message: "no role is named: give --writer, --reader or --operator" })
      }
      const grants = { writers: options.writer, readers: options.reader, operators: options.operator }
      const sql = yield* within(Grants.render(grants))
      if (options.print) {
        return yield* options.json ? printJson({ ...grants, applied: false, sql }) : printSource(sql)
      }
      const schema = yield* within(StorageSchema)
      yield* Grants.apply(grants).pipe(
        Effect.mapError((error) => (error._tag === "ThreadlineError" ? refusedGrant(schema, error) : error)),
        Effect.provide(client(options)),
        within
      )
      yield* answer(
        options,
        () => ({ ...grants, applied: true, sql }),
        () =>
          [
            ...grants.writers.map(
              (role) => `${visible(role)} may set context and record actions in ${visible(schema)}.`
            ),
            ...grants.readers.map((role) => `${visible(role)} may read ${visible(schema)}.`),
            ...grants.operators.map((role) => `${visible(role)} may operate ${visible(schema)}.`)
          ].join("\n")
      )
    })
)
