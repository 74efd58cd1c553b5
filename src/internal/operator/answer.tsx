/** Makes HTTP responses: pages, redirects, files, and the last resort if no page can be made. */
import type { Document } from "./document.js"
import { documentOf } from "./document.js"
import { Frame } from "./design/Frame.js"
import { Understood } from "./design/Understood.js"
import type { Page } from "./screen.js"
import { securityHeaders } from "./securityHeaders.js"
import type { Site } from "./site.js"

/** Renders a page in its frame. If a search led to it, the page says how the search text was understood. */
export const rendered = (page: Page, site: Site): Document => {
  const titled = { ...site, title: page.title, columns: page.columns ?? site.columns }
  const url = new URL(site.here, "http://own.invalid")
  const searchText = url.searchParams.get("q")
  url.searchParams.delete("q")
  return documentOf(
    titled,
    () => (
      <Frame place={page.place} command={page.command} searchText={page.searchText ?? searchText ?? ""}>
        {searchText === null || page.place === "home" || page.place === "none" ? null : (
          <Understood searchText={searchText} here={`${url.pathname}${url.search}`} />
        )}
        {page.view()}
      </Frame>
    ),
    page.style,
    page.rooms,
    page.keepsItems === true ? 0 : page.fewer?.items
  )
}

export const htmlOf = (page: Page, site: Site, withBody: boolean, made = rendered(page, site)): Response => {
  const { headers, html } = made
  return new Response(withBody ? html : null, {
    status: page.status,
    headers: [
      ["content-type", "text/html; charset=utf-8"],
      ...(page.allow === undefined ? [] : [["allow", page.allow] satisfies [string, string]]),
      ...headers.map(([name, value]): [string, string] => [name, value])
    ]
  })
}

export const seeOther = (to: string, cookies: ReadonlyArray<string> = []): Response => {
  const headers = new Headers(securityHeaders().map(([name, value]): [string, string] => [name, value]))
  headers.set("location", to)
  for (const cookie of cookies) {
    headers.append("set-cookie", cookie)
  }
  return new Response(null, { status: 303, headers })
}

/** Adds the security headers to an answer that is not a page. */
export const secured = (response: Response): Response => {
  const headers = new Headers(response.headers)
  for (const [name, value] of securityHeaders()) {
    headers.set(name, value)
  }
  return new Response(response.body, { status: response.status, headers })
}

/** The answer if not even an error page can be made. */
export const plainFailure = (reference: string): Response =>
  new Response(`This page failed. The log of the application has more under the reference ${reference}.\n`, {
    status: 500,
    headers: [
      ["content-type", "text/plain; charset=utf-8"],
      ...securityHeaders().map(([name, value]): [string, string] => [name, value])
    ]
  })
