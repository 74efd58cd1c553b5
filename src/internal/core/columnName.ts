/**
 * Names of columns as people write them in SQL, with their table: `users.password`, `public.users.password`, `"Odd"."T"."c d"`.
 */
import * as Either from "effect/Either"
import { InvalidRequest } from "../../ThreadlineError.js"
import * as TableName from "./tableName.js"

export interface ColumnName extends TableName.TableName {
  readonly column: string
}

/** Reads the name of a column with its table; `field` is the input that an `InvalidRequest` names. */
export const parse = (text: string, field: string = "column"): Either.Either<ColumnName, InvalidRequest> => {
  const refusal = new InvalidRequest({ field, rule: "must be a column with its table, such as public.users.password" })
  // A caller in JavaScript may give anything.
  if (typeof text !== "string") {
    return Either.left(refusal)
  }
  let quoted = false
  let dot = -1
  for (let at = 0; at < text.length; at++) {
    if (text[at] === `"`) {
      quoted = !quoted
    } else if (text[at] === "." && !quoted) {
      dot = at
    }
  }
  return dot === -1
    ? Either.left(refusal)
    : Either.mapLeft(
        Either.zipWith(
          TableName.parse(text.slice(0, dot), field),
          // A column follows the rules of an unqualified table name.
          Either.filterOrLeft(
            TableName.parse(text.slice(dot + 1), field),
            ({ schema }) => schema === "public",
            () => refusal
          ),
          (table, { name }) => ({ ...table, column: name })
        ),
        () => refusal
      )
}
