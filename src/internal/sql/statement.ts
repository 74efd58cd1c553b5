/**
 * Statements that hosts run through clients of their own.
 */
import { InvalidRequest } from "../../ThreadlineError.js"
import { shortTextRule } from "../core/text.js"
import { literal } from "./sqlText.js"

/**
 * A statement with its parameters, as clients take it. `pg` takes the object as it is, other clients take `text` and `values`.
 * Each parameter is text, and the statement casts it. Otherwise a client that asks the server for types would encode it twice.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqlStatement {
  /** The SQL, with `$1` for the first value. */
  readonly text: string
  /** Not readonly, because the types of `pg` ask for an array that they could write to. */
  readonly values: Array<string>
}

/** The schema of the record as a caller named it. Throws `InvalidRequest` if the name is wrong. */
export const storageSchemaName = (given: string | undefined): string => {
  const schema = given ?? "threadline"
  const rule = shortTextRule(schema)
  if (rule !== undefined) {
    throw new InvalidRequest({ field: "schema", rule })
  }
  return schema
}

/** A statement with its values as literals, for clients that take text alone. */
export const inline = ({ text, values }: SqlStatement): string =>
  text.replace(/\$([0-9]+)/g, (parameter, at: string) => {
    const value = values[Number(at) - 1]
    return value === undefined ? parameter : literal(value)
  })
