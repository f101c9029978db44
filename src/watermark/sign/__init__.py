"""Who says so: credentials, what is claimed, and C2PA manifests around both.

* `watermark.sign.claims`      a Record as a manifest definition
* `watermark.sign.credential`  a certificate chain and the signer that goes with it
* `watermark.sign.manifest`    what a manifest was found to say
* `watermark.sign.native`      the C2PA library; the only module that imports c2pa
* `watermark.sign.c2pa`        sign and read files
* `watermark.sign.text`        the same for texts, which hold their manifest or not
* `watermark.sign.remote`      manifests that lie elsewhere
* `watermark.sign.update`      more said of a signed file
* `watermark.sign.stamps`      which authorities time-stamp signatures, and when
* `watermark.sign.restamp`     a time-stamp put in later

This package itself imports none of them, so that c2pa loads when it is used.
"""
