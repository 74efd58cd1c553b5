/** Checks what names evidence: a subject of the closed list, and a reference. */
import * as Either from "effect/Either"
import { InvalidRequest } from "../../ThreadlineError.js"
import { nearest } from "../core/suggest.js"
import { shortTextRule } from "../core/text.js"
import { type Subject, subjects } from "./model.js"

const suggested = (subject: unknown): { readonly suggestion?: string } => {
  const suggestion = typeof subject === "string" ? nearest(subject, subjects) : undefined
  return suggestion === undefined ? {} : { suggestion }
}

export const checkSubject = (subject: unknown): Either.Either<Subject, InvalidRequest> => {
  const knownSubject = subjects.find((one) => one === subject)
  return knownSubject === undefined
    ? Either.left(
        new InvalidRequest({
          field: "subject",
          rule: `must be one of ${subjects.join(", ")}`,
          ...suggested(subject)
        })
      )
    : Either.right(knownSubject)
}

export const checkReference = (reference: unknown): Either.Either<string, InvalidRequest> => {
  const rule = shortTextRule(reference)
  return rule === undefined
    ? Either.right(reference as string)
    : Either.left(new InvalidRequest({ field: "reference", rule }))
}
