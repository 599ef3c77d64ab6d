"""What is private in Ray behaves as serving relies on it."""

from ray.serve import context

from serve.deployments.ray_internals import call_separately


def test_calls_of_one_request_have_request_ids_of_their_own_and_leave_the_requests():
    seen = []

    def call(*arguments):
        seen.append(context._get_serve_request_context())
        return arguments

    context._set_request_context(request_id="of the client", _internal_request_id="of the request")
    try:
        assert [call_separately(call, 1, 2) for _ in range(3)] == [(1, 2)] * 3
        assert len({one._internal_request_id for one in seen} | {"of the request", ""}) == 5
        assert {one.request_id for one in seen} == {"of the client"}
        assert context._get_serve_request_context()._internal_request_id == "of the request"
    finally:
        context._unset_request_context()
