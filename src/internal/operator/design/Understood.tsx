/** How the search text was understood, on the page that it led to, and what else it can mean. */
import * as Either from "effect/Either"
import type { VNode } from "preact"
import { type Meaning, meaningsOf } from "../searchBox.js"
import { useSite } from "../site.js"
import { Notice } from "./Notice.js"
import { Text } from "./Text.js"

export const Understood = ({
  searchText,
  here
}: {
  readonly searchText: string
  readonly here: string
}): VNode | null => {
  const { to, zone } = useSite()
  const meanings = Either.getOrElse(meaningsOf(searchText, zone), () => [])
  const url = new URL(here, "http://own.invalid")
  const table =
    url.searchParams.get("table") ?? decodeURIComponent(/\/rows\/([^/]+)\/[^/]+$/.exec(url.pathname)?.[1] ?? "")
  const isHere = (meaning: Meaning | undefined): boolean => meaning?.address(to) === here
  // A table without a schema may have been found in another schema than `public`.
  const typed = meanings.find((meaning) => isHere(meaning) || isHere(meaning.of?.(table)))
  const own = isHere(typed) ? typed : typed?.of?.(table)
  const others = meanings.filter((meaning) => meaning !== typed)
  return (
    <Notice>
      <span>
        Understood “<Text text={searchText} limit={120} />”
        {own === undefined ? null : (
          <>
            {" "}
            as{" "}
            <b>
              <Text text={own.name} limit={200} />
            </b>
          </>
        )}
        .
      </span>
      {others.length === 0 ? null : (
        <span class="sub">
          It can also mean{" "}
          {others.map((meaning, index) => (
            <>
              {index === 0 ? "" : ", "}
              <a href={meaning.address(to)}>
                <Text text={meaning.name} limit={120} />
              </a>
            </>
          ))}
          .
        </span>
      )}
    </Notice>
  )
}
