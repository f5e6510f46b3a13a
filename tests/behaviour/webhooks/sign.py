"""Signs as a vendor's own library does: SECRET, URL and BODY come as arguments, the headers go out as JSON."""

import datetime
import json
import sys
import time

library, secret, url, body = sys.argv[1:5]
now = int(time.time())

if library == "standardwebhooks":
    from standardwebhooks import Webhook

    at = datetime.datetime.fromtimestamp(now, tz=datetime.timezone.utc)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now),
        "webhook-signature": Webhook(secret).sign("msg_1", at, body),
    }
elif library == "stripe":
    import stripe

    signature = stripe.WebhookSignature._compute_signature(f"{now}.{body}", secret)
    headers = {"stripe-signature": f"t={now},v1={signature}"}
elif library == "slack_sdk":
    from slack_sdk.signature import SignatureVerifier

    headers = {
        "x-slack-request-timestamp": str(now),
        "x-slack-signature": SignatureVerifier(secret).generate_signature(timestamp=str(now), body=body),
    }
elif library == "twilio":
    from urllib.parse import parse_qsl

    from twilio.request_validator import RequestValidator

    fields = dict(parse_qsl(body, keep_blank_values=True))
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-twilio-signature": RequestValidator(secret).compute_signature(url, fields),
    }
else:
    sys.exit(f"no library {library}")

print(json.dumps(headers))
