"""Into which of 24 partitions Kafka puts keys, as its own Java clients compute it."""

from __future__ import annotations

from typing import Final

PARTITIONS: Final = 24

# Made once, by Java: Utils.toPositive(Utils.murmur2(key)) % 24 of kafka-clients 4.4.0, a letter from `a` for each key.
_LETTERS: Final = (
    "grimqrqqobwwfiuwfbkijvfgpgaocssmksvisfcmgriontesinpcltewtsrobntxddjwjsctulncnkvksokrxioagmwfqxkjrqnt"
    "inrpdaobxdqvicllxrrskxkmbihkgwnppjwnmxclihghuctnvbqnqmjoanlrsldsdibonbpegwemxjmrxhpelcouieacmlnexqih"
    "ppvmnjnqxgvgalmfaaqcgigailxojslkkwsprtdkoalvagvmfkeikxtwbteuhxvfvvrwimhgvoawbmlaconthfektjmwwjxxqntp"
    "mengretwmjtcqsanddvjmxqiajpxxjuvslulhmjpabtfajndesaswsxwijhnfslvrchhvlrdwqarmixfinvlkjoimarpacuuqafp"
    "auxtkndbdawklffqucfsemfptfxgqxluikluwrvwriotklijijtfnboiuqfoiqqfpvfirhebejoblvoplebaxsvewnkrjofodmsb"
    "sqbvbucxapdkjlomikjhrxvmcgmliqvuiqnsaopdfrwhhstaajotpndqvffqvegpsqduegfudunspbwugjjsdjwobbidqdmfldop"
    "fhsekasurijvcrrsdlqhnhmucdrmpwkgcjschmhooimbqlgelhinjxldndpdnvteeftxwgqobawsnnsxwfgilrxxihwwsbrojqbp"
    "xvkpdcsdfdigvpicxwrlcilffahjmahefnuffxrauuqavrmvgkoghooclanmrheagvdcnbrfftiwrfxjwhfugqghkevxiuxsxusi"
    "hbvtcpsoeovwlafsusqvweodanktmdagorsmcflatogkjqxkgpltjaigqkdlicrovtkafbqehtpinxlkxcwuhqdaxiougwhhaeke"
    "tcnwwitkdjrvkjpdojpuuroqnaldkqgattqksseoubqnxopaqgrdhlbtimwghtdfoxhrwoucgxkfmnjeosecramiaxbpfeevckfh"
)


def golden() -> dict[str, int]:
    """Return a thousand keys with their partitions: ids, short ones, and others than ASCII, of all lengths modulo 4."""
    forms = ("00000000-0000-7000-8000-{:012d}", "k{}", "ключ-{}")
    return {forms[number % 3].format(number): ord(letter) - ord("a") for number, letter in enumerate(_LETTERS)}
