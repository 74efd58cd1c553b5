/**
 * Statements that hosts run through clients of their own.
 */
import { InvalidRequest } from "../../ThreadlineError.js"
import { shortTextRule } from "../core/text.js"

/**
 * A statement with its parameters, as clients take it: `pg` takes the object as it is, others take `text` and `values`. Each
 * parameter is text, and the statement casts it; a client that guesses types from the server would encode it twice otherwise.
 *
 * @since 0.1.0
 * @category models
 */
export interface SqlStatement {
  readonly text: string
  /** Not readonly, because the types of `pg` ask for an array that they could write to. */
  readonly values: Array<string>
}

/** The schema of the record as a caller named it; throws `InvalidRequest`. */
export const storageSchemaName = (given: string | undefined): string => {
  const schema = given ?? "threadline"
  const rule = shortTextRule(schema)
  if (rule !== undefined) {
    throw new InvalidRequest({ field: "schema", rule })
  }
  return schema
}
